"""Latents → pictures, and what to do when a VAE in half precision overflows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from loralathe.rendering.latent_space import Vae, for_decoder, pixels_per_latent

Tell = Callable[[str], None]

TILE = 512
"""Pixels of a tile, each way."""


def decode(vae: Vae, latents: torch.Tensor, tell: Tell, what: str) -> Image.Image:
    """One picture of latents (4, h, w). `what` names the image in messages.

    Latents that are not finite give a black picture and a message; a VAE that makes NaN of finite latents is
    tried again in float32 (SDXL's own VAE overflows in float16).
    """
    if not bool(latents.isfinite().all()):
        tell(
            f"{what}: the U-Net gave NaN or infinity, the picture is black; "
            "likely causes: an adapter or CFG far too strong, or a damaged checkpoint"
        )
        side = pixels_per_latent(vae)
        shape = (latents.shape[-2] * side, latents.shape[-1] * side)
        return Image.fromarray(np.zeros((*shape, 3), dtype=np.uint8))
    pixels = _pixels(vae, latents)
    if not bool(pixels.isfinite().all()) and vae.dtype != torch.float32:
        tell(f"{what}: the VAE gave NaN in {str(vae.dtype).removeprefix('torch.')}; decoded again in float32")
        pixels = _in_float32(vae, latents)
    if not bool(pixels.isfinite().all()):
        tell(f"{what}: the VAE gave NaN even in float32; the VAE file is damaged or of another family")
        pixels = pixels.nan_to_num(0.0)
    return to_image(pixels)


def work_in_tiles(vae: Vae) -> None:
    """Decode large pictures tile by tile, blended where tiles meet.

    diffusers' tiles are as large as the pictures that a family was trained on, so that one of that size
    would be a single tile and ask for as much memory as before.
    """
    vae.tile_sample_min_size = TILE
    vae.tile_latent_min_size = TILE >> (len(vae.config.block_out_channels) - 1)
    vae.enable_tiling()


def _pixels(vae: Vae, latents: torch.Tensor) -> torch.Tensor:
    """(3, height, width) in −1 … 1, float32."""
    scaled = for_decoder(vae, latents[None])
    decoded: torch.Tensor = vae.decode(scaled.to(vae.dtype), return_dict=False)[0]
    return decoded[0].float()


def _in_float32(vae: Vae, latents: torch.Tensor) -> torch.Tensor:
    before = vae.dtype
    vae.to(torch.float32)
    try:
        return _pixels(vae, latents)
    finally:
        vae.to(before)


def to_image(pixels: torch.Tensor) -> Image.Image:
    """(3, height, width) in −1 … 1 → RGB, rounded to nearest."""
    levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def to_pixels(picture: Image.Image, device: torch.device) -> torch.Tensor:
    """RGB → (3, height, width) in −1 … 1, float32."""
    levels = torch.from_numpy(np.asarray(picture, dtype=np.float32)).to(device)
    return levels.permute(2, 0, 1) / 127.5 - 1
