"""Under which names other programs look for the layers of a network: what may stand before its paths.

The rules of the programs themselves are in `adapters/loading.py`. ComfyUI's were checked against its own
tables (tests/adapters/test_loading.py), those of diffusers against the installed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Starts:
    """original, diffusers: what may stand before these paths; with `_` at its end the path is flat.

    lacks: beginnings of diffusers' paths that the program does not know
    """

    original: tuple[str, ...] = ()
    diffusers: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


Loaders = Mapping[str, Starts]
"""Program → the starts that it knows for a network."""

UNET_LOADERS: Loaders = {
    "comfyui": Starts(
        original=("lora_unet_", "diffusion_model."), diffusers=("lora_unet_", "lycoris_", "unet.", "")
    ),
    "diffusers": Starts(diffusers=("lora_unet_", "unet.")),
    "kohya": Starts(diffusers=("lora_unet_",)),
}
"""SD 1 and SD 2."""
SDXL_LOADERS: Loaders = {
    **UNET_LOADERS,
    "diffusers": Starts(original=("lora_unet_",), diffusers=("lora_unet_", "unet.")),
    "kohya": Starts(original=("lora_unet_",), diffusers=("lora_unet_",)),
}
TRANSFORMER_LOADERS: Loaders = {
    "comfyui": Starts(
        original=("lora_unet_", "diffusion_model."), diffusers=("transformer.", "lycoris_", "")
    ),
    "diffusers": Starts(original=("diffusion_model.",), diffusers=("transformer.",)),
    "kohya": Starts(original=("lora_unet_",)),
}
"""Most transformers."""
FLUX_LOADERS: Loaders = {
    **TRANSFORMER_LOADERS,
    "comfyui": Starts(
        original=("lora_unet_", "diffusion_model."),
        diffusers=("transformer.", "lycoris_", "lora_transformer_", ""),
    ),
    "diffusers": Starts(original=("lora_unet_", "base_model.model."), diffusers=("transformer.",)),
}
"""Flux.1 and Chroma."""
