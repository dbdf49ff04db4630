"""The diffusion of SDXL, v-prediction, and a deterministic sampler.

Symbols as in Salimans & Ho 2022: z_t = alpha_t x + sigma_t eps, v = alpha_t eps - sigma_t x.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

STEPS = 1000


def alpha_sigma(timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """alpha_t and sigma_t of the scaled-linear schedule 0.00085..0.012, each (n, 1, 1, 1)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    squared = torch.cumprod(1 - betas, 0)[timesteps].float()[:, None, None, None]
    return squared.sqrt(), (1 - squared).sqrt()


def min_snr_weight(alpha: torch.Tensor, sigma: torch.Tensor, gamma: float = 5.0) -> torch.Tensor:
    """Weight of the squared error of v: min(snr, gamma) / (snr + 1) (Hang et al. 2023, v form)."""
    snr = (alpha / sigma) ** 2
    return snr.clamp(max=gamma) / (snr + 1)


def stratified_timesteps(n: int, generator: torch.Generator) -> torch.Tensor:
    """n time steps spread evenly over the schedule, in random order."""
    spread = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return (spread * STEPS).long()[torch.randperm(n, generator=generator)]


def ddim(
    predict_v: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], noise: torch.Tensor, steps: int
) -> torch.Tensor:
    """DDIM with eta 0 on diffusers' `leading` grid (steps_offset 1, set_alpha_to_one False)."""
    stride = STEPS // steps
    grid = [i * stride + 1 for i in reversed(range(steps))]
    z = noise
    for t in grid:
        alpha, sigma = alpha_sigma(torch.tensor([t]))
        alpha_next, sigma_next = alpha_sigma(torch.tensor([max(t - stride, 0)]))
        v = predict_v(z, torch.tensor([t]))
        z = alpha_next * (alpha * z - sigma * v) + sigma_next * (alpha * v + sigma * z)
    return z
