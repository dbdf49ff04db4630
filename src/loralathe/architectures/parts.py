"""The components that several families share."""

from __future__ import annotations

from typing import Literal

from .architecture import Component
from .unet import UNet
from .vae import vae_layers

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."

VAE_PART = Component(id="vae", root=VAE_PREFIX, prefix=VAE_PREFIX, folder="vae", layers=vae_layers)


def unet_part(structure: UNet, spelling: Literal["original", "diffusers"]) -> Component:
    """The U-Net of a single-file checkpoint; `spelling` is how sd-scripts writes its adapter names."""
    return Component(
        id="unet",
        root=UNET_PREFIX,
        prefix=UNET_PREFIX,
        folder="unet",
        layers=structure.layers,
        kohya=("lora_unet_", "lycoris_", "oft_unet_"),
        spelling=spelling,
    )


def in_unet(ranks: dict[str, int]) -> dict[str, int]:
    """Signature conditions inside the U-Net: weight path → rank, with the prefix put before each."""
    return {f"{UNET_PREFIX}{path}.weight": rank for path, rank in ranks.items()}
