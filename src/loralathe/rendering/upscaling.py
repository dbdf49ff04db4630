"""Latents → larger latents, for the second pass of hires fix."""

from __future__ import annotations

import torch
from PIL import Image

from loralathe.rendering.decoding import Tell, decode, to_pixels
from loralathe.rendering.hires import UPSCALERS, Upscaler
from loralathe.rendering.latent_space import Vae, from_encoder, pixels_per_latent


def enlarge(
    vae: Vae, latents: torch.Tensor, upscaler: str, size: tuple[int, int], tell: Tell
) -> torch.Tensor:
    """latents (batch, 4, h, w) for pictures of `size` (width, height), as latents or by way of pixels."""
    chosen = UPSCALERS[upscaler]
    width, height = size
    side = pixels_per_latent(vae)
    if chosen.latents:
        return torch.nn.functional.interpolate(
            latents, size=(height // side, width // side), mode=chosen.mode, antialias=chosen.antialias
        )
    return torch.stack([_by_pixels(vae, one, chosen, size, tell) for one in latents])


def _by_pixels(
    vae: Vae, latents: torch.Tensor, upscaler: Upscaler, size: tuple[int, int], tell: Tell
) -> torch.Tensor:
    """One picture decoded, resized and encoded."""
    picture = decode(vae, latents, tell, "the first pass")
    large = picture.resize(size, Image.Resampling[upscaler.mode])
    return encode(vae, to_pixels(large, latents.device), tell)


def encode(vae: Vae, pixels: torch.Tensor, tell: Tell) -> torch.Tensor:
    """(4, h, w) float32 of pixels (3, height, width) in −1 … 1: the mean of what the VAE says.

    A1111 draws from what the VAE says, with noise that no seed decides; its spread is small.
    """
    latents = _encoded(vae, pixels)
    if not bool(latents.isfinite().all()) and vae.dtype != torch.float32:
        before = vae.dtype
        tell(f"the VAE gave NaN in {str(before).removeprefix('torch.')}; encoded again in float32")
        vae.to(torch.float32)
        try:
            latents = _encoded(vae, pixels)
        finally:
            vae.to(before)
    return latents


def _encoded(vae: Vae, pixels: torch.Tensor) -> torch.Tensor:
    mean: torch.Tensor = vae.encode(pixels[None].to(vae.dtype)).latent_dist.mode()
    return from_encoder(vae, mean.float())[0]
