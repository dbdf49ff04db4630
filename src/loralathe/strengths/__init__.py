"""What a person asks of an adapter: strengths, block weights, element rules, presets, and their spellings.

`parse_spec` reads what was typed, `resolve` gives it its meaning on a family, and `effective` says how much
of an adapter goes into a module: the one definition for merging, extraction and pictures.
"""

from loralathe.strengths.blockweights import (
    BlockWeights,
    parse_block_weights,
)
from loralathe.strengths.builtins import (
    builtin_names,
)
from loralathe.strengths.elements import (
    ElementRule,
    parse_elements,
)
from loralathe.strengths.presetfiles import (
    PresetFile,
    parse_preset_option,
    read_element_preset_file,
    read_preset_file,
)
from loralathe.strengths.selection import (
    selection_rules,
)
from loralathe.strengths.spec import (
    AdapterSpec,
    parse_spec,
)
from loralathe.strengths.strength import (
    Strength,
    check_blocks,
    effective,
    resolve,
    rules_without_effect,
)
from loralathe.strengths.tokens import (
    seeded_tokens,
)

__all__ = [
    "AdapterSpec",
    "BlockWeights",
    "ElementRule",
    "PresetFile",
    "Strength",
    "builtin_names",
    "check_blocks",
    "effective",
    "parse_block_weights",
    "parse_elements",
    "parse_preset_option",
    "parse_spec",
    "read_element_preset_file",
    "read_preset_file",
    "resolve",
    "rules_without_effect",
    "seeded_tokens",
    "selection_rules",
]
