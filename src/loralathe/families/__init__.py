"""Model families: all facts of one in one file (`sd1.py`, `sdxl.py`, `flux.py` …), found in this folder.

What a file is, whose layer a tensor or a name in an adapter is, and in which block. Nothing here reads a
file: recognition takes a header, anything with `tensors` (key → shape) and `metadata`.
"""

from importlib import import_module
from pkgutil import iter_modules

from loralathe.families.blocks import (
    OTHER,
    block_label,
    block_lists,
    common_prefixes,
    component_name,
    in_model_order,
    is_block_word,
    is_encoder_block,
    label_of_key,
    label_of_module,
    label_order,
    shorthand,
)
from loralathe.families.components import BIAS, LayerAddress, Module
from loralathe.families.detect import Detected, detect_checkpoint
from loralathe.families.detect_adapter import (
    AdapterDetected,
    address_of_raw,
    canonical_of_raw,
    detect_adapter,
)
from loralathe.families.dialects import group_by_module, kind_of_module, shows_adapter, split_adapter_key
from loralathe.families.family import BASE, Family
from loralathe.families.layers import FACTORED
from loralathe.families.metadata import AdapterNotes, adapter_metadata
from loralathe.families.pictures import Padding, Pictures, TextReading
from loralathe.families.recognition import DENOISER_PREFIX, TensorLike
from loralathe.families.registry import FAMILIES, family_by_id, register, supported_families
from loralathe.families.vae import vae_keys

for _found in iter_modules(__path__):  # a family makes itself known when its file is imported
    import_module(f"{__name__}.{_found.name}")

__all__ = [
    "BASE",
    "BIAS",
    "DENOISER_PREFIX",
    "FACTORED",
    "FAMILIES",
    "OTHER",
    "AdapterDetected",
    "AdapterNotes",
    "Detected",
    "Family",
    "LayerAddress",
    "Module",
    "Padding",
    "Pictures",
    "TensorLike",
    "TextReading",
    "adapter_metadata",
    "address_of_raw",
    "block_label",
    "block_lists",
    "canonical_of_raw",
    "common_prefixes",
    "component_name",
    "detect_adapter",
    "detect_checkpoint",
    "family_by_id",
    "group_by_module",
    "in_model_order",
    "is_block_word",
    "is_encoder_block",
    "kind_of_module",
    "label_of_key",
    "label_of_module",
    "label_order",
    "register",
    "shorthand",
    "shows_adapter",
    "split_adapter_key",
    "supported_families",
    "vae_keys",
]
