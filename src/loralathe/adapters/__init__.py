"""The LoRA family as a type: parse, strengths and block weights, deltas, write.

`parse_spec` reads what a person typed, `open_adapter` the file, `effective` says how much of it goes where,
`load_factors` and `delta` give the numbers, `kohya_tensors` turns factors into a file again.
"""

from .adapter import Adapter, open_adapter, shows_dora
from .blockweights import BlockWeights, parse_block_weights
from .builtins import builtin_names
from .elements import ElementRule, parse_elements
from .factors import delta, load_factors, load_magnitudes
from .fit import Fit, Mismatch, check_against, require_fit, weight_shape
from .metadata import AdapterNotes, adapter_metadata
from .modules import AdapterModule
from .presetfiles import PresetFile, parse_preset_option, read_element_preset_file, read_preset_file
from .selection import selection_rules
from .spec import AdapterSpec, parse_spec
from .strength import Strength, check_blocks, effective, resolve, rules_without_effect
from .tokens import seeded_tokens
from .write import AdapterFormat, NamedTensor, kohya_specs, kohya_tensors

__all__ = [
    "Adapter",
    "AdapterFormat",
    "AdapterModule",
    "AdapterNotes",
    "AdapterSpec",
    "BlockWeights",
    "ElementRule",
    "Fit",
    "Mismatch",
    "NamedTensor",
    "PresetFile",
    "Strength",
    "adapter_metadata",
    "builtin_names",
    "check_against",
    "check_blocks",
    "delta",
    "effective",
    "kohya_specs",
    "kohya_tensors",
    "load_factors",
    "load_magnitudes",
    "open_adapter",
    "parse_block_weights",
    "parse_elements",
    "parse_preset_option",
    "parse_spec",
    "read_element_preset_file",
    "read_preset_file",
    "require_fit",
    "resolve",
    "rules_without_effect",
    "seeded_tokens",
    "selection_rules",
    "shows_dora",
    "weight_shape",
]
