"""Noise levels of a model, and A1111's schedules: which levels n steps visit.

Everything is float64 numpy; a schedule is n levels from high to low and a final 0 (KL Optimal ends at
the lowest level instead). Sigma is the noise-to-signal ratio: x = x₀ + σ·noise (Karras et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

TRAIN_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012
"""Stable Diffusion's "scaled linear" training schedule: √β rises linearly."""

LOWEST_SIGNAL = 2.0**-24
"""ᾱ of the last step under zero terminal SNR; exactly 0 would make σ infinite (diffusers' value)."""


def cumulative_signal(*, zero_terminal_snr: bool = False) -> Floats:
    """ᾱ of the 1000 training steps. Zero terminal SNR: Lin et al. 2023, Algorithm 1."""
    betas = np.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS) ** 2
    signal = np.cumprod(1.0 - betas)
    if zero_terminal_snr:
        root = np.sqrt(signal)
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        signal = root**2
        signal[-1] = LOWEST_SIGNAL
    return np.asarray(signal, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """σ of every training step, ascending; times between the steps are interpolated in log σ.

    aligned: the family's levels for Align Your Steps
    """

    sigmas: Floats
    aligned: tuple[float, ...]

    @classmethod
    def of(cls, aligned: tuple[float, ...], *, zero_terminal_snr: bool = False) -> NoiseLevels:
        signal = cumulative_signal(zero_terminal_snr=zero_terminal_snr)
        return cls(np.sqrt((1.0 - signal) / signal), aligned)

    @property
    def lowest(self) -> float:
        return float(self.sigmas[0])

    @property
    def highest(self) -> float:
        return float(self.sigmas[-1])

    def sigma_of(self, times: Floats) -> Floats:
        """σ at fractional training steps (0 … 999)."""
        grid = np.arange(len(self.sigmas), dtype=np.float64)
        return np.asarray(np.exp(np.interp(times, grid, np.log(self.sigmas))), dtype=np.float64)

    def time_of(self, sigma: float) -> float:
        """The fractional training step whose level is `sigma`, clipped to 0 … 999."""
        grid = np.arange(len(self.sigmas), dtype=np.float64)
        return float(np.interp(np.log(sigma), np.log(self.sigmas), grid))


def _ramp(n: int) -> Floats:
    return np.linspace(0.0, 1.0, n)


def _to_zero(sigmas: Floats) -> Floats:
    return np.append(sigmas, 0.0)


def uniform(n: int, levels: NoiseLevels) -> Floats:
    """Times linear from 999 to 0, both included."""
    return _to_zero(levels.sigma_of(np.linspace(TRAIN_STEPS - 1, 0, n)))


def karras(n: int, levels: NoiseLevels, rho: float = 7.0) -> Floats:
    """Karras et al. 2022, equation 5."""
    high, low = levels.highest ** (1 / rho), levels.lowest ** (1 / rho)
    return _to_zero((high + _ramp(n) * (low - high)) ** rho)


def exponential(n: int, levels: NoiseLevels) -> Floats:
    """log σ linear."""
    return _to_zero(np.exp(np.linspace(np.log(levels.highest), np.log(levels.lowest), n)))


def polyexponential(n: int, levels: NoiseLevels, rho: float = 1.0) -> Floats:
    """log σ falls with a power `rho` of the step; rho 1 is exponential."""
    low, high = np.log(levels.lowest), np.log(levels.highest)
    return _to_zero(np.exp((1 - _ramp(n)) ** rho * (high - low) + low))


def sgm_uniform(n: int, levels: NoiseLevels) -> Floats:
    """Times linear in n + 1 points, the last (time 0) left out: the last step comes from higher up."""
    return _to_zero(levels.sigma_of(np.linspace(TRAIN_STEPS - 1, 0, n + 1)[:-1]))


def kl_optimal(n: int, levels: NoiseLevels) -> Floats:
    """arctan σ linear (Sabour et al. 2024, "Align Your Steps", theorem 3.1); ends at the lowest level."""
    part = np.arange(n + 1) / n
    return np.asarray(
        np.tan(part * np.arctan(levels.lowest) + (1 - part) * np.arctan(levels.highest)), dtype=np.float64
    )


def simple(n: int, levels: NoiseLevels) -> Floats:
    """Every (1000/n)-th level from the top."""
    places = TRAIN_STEPS - 1 - (np.arange(n) * (TRAIN_STEPS / n)).astype(int)
    return _to_zero(levels.sigmas[np.maximum(places, 0)])


def ddim(n: int, levels: NoiseLevels) -> Floats:
    """Levels of the training steps 1, 1 + k, 1 + 2k … with k = 1000 // n; n of them (A1111 may add one)."""
    stride = max(TRAIN_STEPS // n, 1)
    places = np.minimum(1 + np.arange(n) * stride, TRAIN_STEPS - 1)
    return _to_zero(levels.sigmas[places[::-1]])


def align_your_steps(n: int, levels: NoiseLevels) -> Floats:
    """Levels optimised for a family and 10 steps (Sabour et al. 2024), resampled in log σ."""
    grid = _ramp(len(levels.aligned))
    return _to_zero(np.exp(np.interp(_ramp(n), grid, np.log(levels.aligned))))


Schedule: TypeAlias = Callable[[int, NoiseLevels], Floats]
