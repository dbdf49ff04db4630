"""LoRA files of every kind and dialect: read, fitted to a family, turned into deltas, written.

`open_adapter` reads the file, `load_factors` and `load_change` give the numbers, `kohya_tensors` turns
factors into a file again. `kinds/` holds the kinds of adapter, a file each.
"""

from loralathe.adapters.adapter import Adapter, changing_kind_of_file, open_adapter, read_adapter
from loralathe.adapters.alphas import read_scalar
from loralathe.adapters.detect import (
    AdapterDetected,
    close_files,
    detect_adapter,
    is_adapter,
    is_usable,
    no_adapter,
)
from loralathe.adapters.dialects import DIALECTS, WRITTEN, Dialect, address_of_raw, canonical_of_raw, home_of
from loralathe.adapters.factors import WholeWeight, delta, load_change, load_factors, load_product, widened
from loralathe.adapters.fit import (
    Fit,
    Mismatch,
    check_against,
    fits,
    fits_first_channels,
    require_fit,
    weight_shape,
)
from loralathe.adapters.foreign import foreign_kind
from loralathe.adapters.keys import group_by_module, kind_of_module, shows_adapter, split_adapter_key
from loralathe.adapters.kinds import adapter_kinds, label_of_kind, rank_of, read_labels
from loralathe.adapters.loading import PROGRAMS, Finding, Loading, check_loading
from loralathe.adapters.model_folders import ModelFolders, models_below
from loralathe.adapters.module import AdapterModule
from loralathe.adapters.origin import own_family, require_one_family
from loralathe.adapters.peft_folder import CONFIG as PEFT_CONFIG
from loralathe.adapters.peft_folder import WEIGHTS as PEFT_WEIGHTS
from loralathe.adapters.peft_folder import PeftParts
from loralathe.adapters.renamed import write_renamed
from loralathe.adapters.rewrite import Rewriting, require_said, rewriting
from loralathe.adapters.write import (
    AdapterFormat,
    NamedTensor,
    completions,
    kohya_specs,
    kohya_tensors,
    zero_tensors,
)

__all__ = [
    "DIALECTS",
    "PEFT_CONFIG",
    "PEFT_WEIGHTS",
    "PROGRAMS",
    "WRITTEN",
    "Adapter",
    "AdapterDetected",
    "AdapterFormat",
    "AdapterModule",
    "Dialect",
    "Finding",
    "Fit",
    "Loading",
    "Mismatch",
    "ModelFolders",
    "NamedTensor",
    "PeftParts",
    "Rewriting",
    "WholeWeight",
    "adapter_kinds",
    "address_of_raw",
    "canonical_of_raw",
    "changing_kind_of_file",
    "check_against",
    "check_loading",
    "close_files",
    "completions",
    "delta",
    "detect_adapter",
    "fits",
    "fits_first_channels",
    "foreign_kind",
    "group_by_module",
    "home_of",
    "is_adapter",
    "is_usable",
    "kind_of_module",
    "kohya_specs",
    "kohya_tensors",
    "label_of_kind",
    "load_change",
    "load_factors",
    "load_product",
    "models_below",
    "no_adapter",
    "open_adapter",
    "own_family",
    "rank_of",
    "read_adapter",
    "read_labels",
    "read_scalar",
    "require_fit",
    "require_one_family",
    "require_said",
    "rewriting",
    "shows_adapter",
    "split_adapter_key",
    "weight_shape",
    "widened",
    "write_renamed",
    "zero_tensors",
]  # fmt: skip
