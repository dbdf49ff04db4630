"""What a person asks of an adapter: strengths, block weights, element rules, presets, and their spellings.

`read_argument` and `read_tag` read what was typed, `resolve` gives it its meaning on a family, and
`effective` says how much of an adapter goes into a module: the one definition for merging, extraction and
pictures.
"""

from loralathe.strengths.blockweights import (
    BlockWeights,
    parse_block_weights,
)
from loralathe.strengths.builtins import builtin_names
from loralathe.strengths.elements import ElementRule, parse_elements
from loralathe.strengths.lists import parse_floats, parse_ints, parse_texts, split_items
from loralathe.strengths.presetfiles import (
    PresetFile,
    parse_preset_option,
    read_element_preset_file,
    read_preset_file,
)
from loralathe.strengths.selection import selection_rules
from loralathe.strengths.strength import Strength, check_blocks, effective, resolve, rules_without_effect
from loralathe.strengths.text import (
    find_name,
    match_name,
    name_hint,
    number_text,
    parse_number,
    parse_size,
    parse_whole,
    show_number,
)
from loralathe.strengths.tokens import seeded_tokens
from loralathe.strengths.use import (
    AdapterUse,
    TagError,
    argument_text,
    given_uses,
    read_argument,
    read_tag,
    require_counted_once,
    tag_text,
    term_text,
)

__all__ = [
    "AdapterUse",
    "BlockWeights",
    "ElementRule",
    "PresetFile",
    "Strength",
    "TagError",
    "argument_text",
    "builtin_names",
    "check_blocks",
    "effective",
    "find_name",
    "given_uses",
    "match_name",
    "name_hint",
    "number_text",
    "parse_block_weights",
    "parse_elements",
    "parse_floats",
    "parse_ints",
    "parse_number",
    "parse_preset_option",
    "parse_size",
    "parse_texts",
    "parse_whole",
    "read_argument",
    "read_element_preset_file",
    "read_preset_file",
    "read_tag",
    "require_counted_once",
    "resolve",
    "rules_without_effect",
    "seeded_tokens",
    "selection_rules",
    "show_number",
    "split_items",
    "tag_text",
    "term_text",
]
