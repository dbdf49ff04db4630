"""Samplers and schedules under A1111's names.

The k-diffusion family is a set of pure functions (`solvers`), so that every schedule works with every
sampler and each image of a batch draws its own noise; the timestep family runs on diffusers' schedulers.
"""

from loralathe.rendering.samplers.a1111 import (
    SAMPLERS,
    SCHEDULES,
    Prediction,
    Sampler,
    canonical_names,
    label_of,
    sigmas_for,
)
from loralathe.rendering.samplers.levels import NoiseLevels

__all__ = [
    "SAMPLERS", "SCHEDULES", "NoiseLevels", "Prediction", "Sampler", "canonical_names", "label_of",
    "sigmas_for",
]  # fmt: skip
