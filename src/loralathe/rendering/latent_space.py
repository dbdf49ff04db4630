"""What a VAE's latents are to the network: scaled by a number, or in patches by statistics that it holds."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

Vae: TypeAlias = Any
"""A diffusers AutoencoderKL, or AutoencoderKLFlux2."""
SIDE = 8
"""Pixels of one of the VAE's latents, each way."""


def pixels_per_latent(vae: Vae) -> int:
    """Each way, of the network's latents."""
    return 2 * SIDE if _has_statistics(vae) else SIDE


def for_decoder(vae: Vae, latents: torch.Tensor) -> torch.Tensor:
    """(n, c, h, w) of the network → what the VAE decodes."""
    if not _has_statistics(vae):
        scaled: torch.Tensor = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return scaled
    mean, spread = _statistics(vae, latents.device)
    count, channels, height, width = latents.shape
    cut = (latents * spread + mean).reshape(count, channels // 4, 2, 2, height, width)
    return cut.permute(0, 1, 4, 2, 5, 3).reshape(count, channels // 4, height * 2, width * 2)


def from_encoder(vae: Vae, latents: torch.Tensor) -> torch.Tensor:
    """The reverse."""
    if not _has_statistics(vae):
        scaled: torch.Tensor = (latents - (vae.config.shift_factor or 0.0)) * float(vae.config.scaling_factor)
        return scaled
    mean, spread = _statistics(vae, latents.device)
    count, channels, height, width = latents.shape
    cut = latents.reshape(count, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return (cut.reshape(count, channels * 4, height // 2, width // 2) - mean) / spread


def _has_statistics(vae: Vae) -> bool:
    return getattr(vae, "bn", None) is not None


def _statistics(vae: Vae, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """With little memory the VAE may be elsewhere before it runs."""
    both = (vae.bn.running_mean, vae.bn.running_var)
    mean, variance = (one.to(device).float().reshape(1, -1, 1, 1) for one in both)
    return mean, torch.sqrt(variance + vae.config.batch_norm_eps)
