"""Solvers along a straight flow, where the answer is known: pictures from a normal distribution."""

from __future__ import annotations

import math

import pytest
import torch

from loralathe.families import Usual, moved
from loralathe.families.pictures import always, by_patches
from loralathe.rendering.samplers import SAMPLERS
from loralathe.rendering.samplers.flow import FLOW_SAMPLERS, flow_levels

MEAN, SPREAD, STEPS = 0.7, 0.5, 100
USUAL = Usual(shift=always(1.0))


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_solvers_find_the_exact_picture(name: str) -> None:
    """x at σ is normal, of mean (1 − σ)m and variance (1 − σ)²s² + σ²; the flow keeps each x's quantile."""

    def denoise(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        share = (1 - sigma) * SPREAD**2 / ((1 - sigma) ** 2 * SPREAD**2 + sigma**2)
        return MEAN + share * (x - (1 - sigma) * MEAN)

    solver = SAMPLERS[name].solver
    assert solver is not None
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    found = solver(denoise, start, flow_levels(USUAL, STEPS, 1), lambda: torch.zeros(9))
    wrong = (found - (MEAN + SPREAD * start)).abs().max().item()
    assert wrong < (0.02 if name == "Euler" else 0.002)


def test_levels_of_flux() -> None:
    """e^μ σ / (e^μ σ + 1 − σ), μ 0.5 at 256 patches and 1.15 at 4096."""
    dev = Usual(shift=by_patches((256, 0.5), (4096, 1.15)))
    for patches, mu in ((256, 0.5), (4096, 1.15), (1024, 0.5 + 0.65 * 768 / 3840)):
        levels = flow_levels(dev, 4, patches)
        assert levels[0] == 1.0
        assert levels[-1] == 0.0
        assert levels[2] == pytest.approx(math.exp(mu) / (math.exp(mu) + 1))
    assert moved(0.25, 3.0) == pytest.approx(0.5)
