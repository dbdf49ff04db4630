"""What a tensor is: families as data, recognition with explanation, names in every dialect, blocks.

A family is one file (`sd1.py`, `sd2.py`, `sdxl.py`, `flux.py`) and one line in `registry.py`. Nothing here
reads a file: recognition takes a header, anything with `tensors` (key → shape) and `metadata`.
"""

from loralathe.families.blocks import (
    block_names_for_length,
    canonical_block,
    places_without_block,
)
from loralathe.families.detect import (
    Detected,
    detect_checkpoint,
)
from loralathe.families.detect_adapter import (
    AdapterDetected,
    address_of_raw,
    canonical_of_raw,
    detect_adapter,
)
from loralathe.families.dialects import (
    group_by_module,
    kind_of_module,
    shows_adapter,
    split_adapter_key,
)
from loralathe.families.diffusers import (
    DiffusersMap,
    diffusers_map,
)
from loralathe.families.family import (
    BIAS,
    COMPONENT_NAMES,
    Family,
    LayerAddress,
    Module,
    Piece,
)
from loralathe.families.flux import (
    FLUX,
)
from loralathe.families.metadata import (
    AdapterNotes,
    adapter_metadata,
)
from loralathe.families.names import (
    FACTORED,
)
from loralathe.families.registry import (
    FAMILIES,
    family_by_id,
)
from loralathe.families.sd1 import (
    SD1,
)
from loralathe.families.sd2 import (
    SD2,
)
from loralathe.families.sdxl import (
    SDXL,
)
from loralathe.families.signatures import (
    TensorLike,
)
from loralathe.families.vae_names import (
    vae_keys,
)

__all__ = [
    "BIAS",
    "COMPONENT_NAMES",
    "FACTORED",
    "FAMILIES",
    "FLUX",
    "SD1",
    "SD2",
    "SDXL",
    "AdapterDetected",
    "AdapterNotes",
    "Detected",
    "DiffusersMap",
    "Family",
    "LayerAddress",
    "Module",
    "Piece",
    "TensorLike",
    "adapter_metadata",
    "address_of_raw",
    "block_names_for_length",
    "canonical_block",
    "canonical_of_raw",
    "detect_adapter",
    "detect_checkpoint",
    "diffusers_map",
    "family_by_id",
    "group_by_module",
    "kind_of_module",
    "places_without_block",
    "shows_adapter",
    "split_adapter_key",
    "vae_keys",
]
