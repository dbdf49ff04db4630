"""Model families: all facts of one in one file (`sd1.py`, `sdxl.py`, `flux.py` …), found in this folder.

What a file is, whose layer a tensor or a name in an adapter is, and in which block. Nothing here reads a
file: recognition takes a header, anything with `tensors` (key → shape) and `metadata`.
"""

from importlib import import_module
from pkgutil import iter_modules

from loralathe.families.blocks import (
    OTHER,
    VAE_LABEL,
    all_block_lists,
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
from loralathe.families.components import BIAS, Component, LayerAddress, Module, PathSpelling, Piece
from loralathe.families.detect import Detected, detect_checkpoint
from loralathe.families.family import (
    BASE,
    ENCODER_NAMES,
    FAMILIES,
    Family,
    family_by_id,
    register,
    supported_families,
)
from loralathe.families.folder_layout import FolderLayout, folder_layout
from loralathe.families.layers import FACTORED
from loralathe.families.layouts import in_original_layout, network_of, original_header
from loralathe.families.metadata import AdapterNotes, adapter_metadata
from loralathe.families.pictures import DenoiserKind, Padding, Pictures, TextReading, Tokens, Usual, moved
from loralathe.families.recognition import DENOISER_PREFIX, HeaderLike, TensorLike
from loralathe.families.unread import family_of_words, name_given_as_lora, name_unread
from loralathe.families.vae import vae_component, vae_keys

for _found in iter_modules(__path__):  # a family makes itself known when its file is imported
    import_module(f"{__name__}.{_found.name}")

__all__ = [
    "BASE",
    "BIAS",
    "DENOISER_PREFIX",
    "ENCODER_NAMES",
    "FACTORED",
    "FAMILIES",
    "OTHER",
    "VAE_LABEL",
    "AdapterNotes",
    "Component",
    "DenoiserKind",
    "Detected",
    "Family",
    "FolderLayout",
    "HeaderLike",
    "LayerAddress",
    "Module",
    "Padding",
    "PathSpelling",
    "Pictures",
    "Piece",
    "TensorLike",
    "TextReading",
    "Tokens",
    "Usual",
    "adapter_metadata",
    "all_block_lists",
    "block_label",
    "block_lists",
    "common_prefixes",
    "component_name",
    "detect_checkpoint",
    "family_by_id",
    "family_of_words",
    "folder_layout",
    "in_model_order",
    "in_original_layout",
    "is_block_word",
    "is_encoder_block",
    "label_of_key",
    "label_of_module",
    "label_order",
    "moved",
    "name_given_as_lora",
    "name_unread",
    "network_of",
    "original_header",
    "register",
    "shorthand",
    "supported_families",
    "vae_component",
    "vae_keys",
]  # fmt: skip
