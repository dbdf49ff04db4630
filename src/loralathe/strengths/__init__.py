"""What a person asks of an adapter: strengths, block weights, element rules, presets, and their spellings.

`read_argument` and `read_tag` read what was typed, `resolve` gives it its meaning on a family, and
`effective` says how much of an adapter goes into a module: the one definition for merging, extraction and
pictures.
"""

from loralathe.strengths.blocks import (
    block_names_of,
    component_of,
    find_list,
    is_text_encoder,
    names_blocks,
    select_blocks,
)
from loralathe.strengths.elements import (
    ElementRule,
    Selection,
    element_text,
    last_match,
    parse_elements,
    selection_rules,
)
from loralathe.strengths.lists import decimal_comma_note, parse_floats, parse_ints, parse_texts, split_items
from loralathe.strengths.presets import (
    NO_PRESETS,
    PresetFile,
    builtin_names,
    find_preset,
    read_element_preset_file,
    read_preset_file,
    spelled_out,
    with_preset,
)
from loralathe.strengths.strength import Strength, check_blocks, effective, in_float32, resolve
from loralathe.strengths.text import (
    find_name,
    looks_like_number,
    match_name,
    name_hint,
    number_text,
    parse_number,
    parse_size,
    parse_whole,
    show_number,
)
from loralathe.strengths.tokens import has_tokens, seeded_tokens
from loralathe.strengths.use import (
    AdapterUse,
    TagError,
    argument_text,
    given_uses,
    read_argument,
    read_tag,
    require_counted_once,
    same_adapter,
    tag_text,
    term_text,
)
from loralathe.strengths.weights import REST, BlockText, BlockWeights, parse_block_weights, read_block_text

__all__ = [
    "NO_PRESETS", "REST", "AdapterUse", "BlockText", "BlockWeights", "ElementRule", "PresetFile",
    "Selection", "Strength", "TagError", "argument_text", "block_names_of", "builtin_names", "check_blocks",
    "component_of", "decimal_comma_note", "effective", "element_text", "find_list", "find_name",
    "find_preset", "given_uses", "has_tokens", "in_float32", "is_text_encoder", "last_match",
    "looks_like_number", "match_name", "name_hint", "names_blocks", "number_text", "parse_block_weights",
    "parse_elements", "parse_floats", "parse_ints", "parse_number", "parse_size", "parse_texts",
    "parse_whole", "read_argument", "read_block_text", "read_element_preset_file", "read_preset_file",
    "read_tag", "require_counted_once", "resolve", "same_adapter", "seeded_tokens", "select_blocks",
    "selection_rules", "show_number", "spelled_out", "split_items", "tag_text", "term_text", "with_preset",
]  # fmt: skip
