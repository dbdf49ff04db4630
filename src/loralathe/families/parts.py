"""The components that several families share."""

from __future__ import annotations

from typing import Literal

from loralathe.families.denoiser import Denoiser
from loralathe.families.family import Component
from loralathe.families.vae import vae_layers

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."


def vae_part(prefix: str) -> Component:
    return Component(id="vae", root=prefix, prefix=prefix, folder="vae", layers=vae_layers)


VAE_PART = vae_part(VAE_PREFIX)


def denoiser_part(
    structure: Denoiser,
    spelling: Literal["original", "diffusers"],
    *,
    folder: str = "unet",
    bare: tuple[str, ...] = (),
    kohya: str | None = None,
) -> Component:
    """The U-Net or transformer of a single-file checkpoint.

    spelling: how sd-scripts writes its adapter names;  bare: how keys begin where the prefix is left out.
    kohya: how else names of adapters may begin.
    """
    return Component(
        id="unet",
        root=UNET_PREFIX,
        prefix=UNET_PREFIX,
        folder=folder,
        layers=structure.layers,
        bare=bare,
        kohya=("lora_unet_", "lycoris_", "oft_unet_", *([kohya] if kohya else [])),
        spelling=spelling,
    )


def in_unet(ranks: dict[str, int]) -> dict[str, int]:
    """Signature conditions inside the U-Net: weight path → rank, with the prefix put before each."""
    return {f"{UNET_PREFIX}{path}.weight": rank for path, rank in ranks.items()}
