"""Samplers against closed forms, schedules against their definitions, names as people write them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from loralathe.errors import InputError
from loralathe.families.sd1 import SD1_LEVELS
from loralathe.rendering.samplers import (
    SAMPLERS,
    SCHEDULES,
    NoiseLevels,
    canonical_names,
    label_of,
    sigmas_for,
    solvers,
)
from loralathe.rendering.samplers.levels import cumulative_signal

LEVELS = NoiseLevels.of(SD1_LEVELS)
SPREAD = 0.7
DETERMINISTIC = {
    "Euler": (solvers.euler, 1), "Heun": (solvers.heun, 2), "DPM2": (solvers.dpm2, 2),
    "LMS": (solvers.lms, 2), "DPM++ 2M": (solvers.dpmpp_2m, 2),
}  # fmt: skip
STOCHASTIC = {
    "Euler a": solvers.euler_ancestral, "DPM2 a": solvers.dpm2_ancestral,
    "DPM++ 2S a": solvers.dpmpp_2s_ancestral, "DPM++ SDE": solvers.dpmpp_sde,
    "DPM++ 2M SDE": solvers.dpmpp_2m_sde, "DPM++ 3M SDE": solvers.dpmpp_3m_sde,
}  # fmt: skip


def gaussian(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
    """The exact denoiser when clean latents are normal with deviation SPREAD."""
    return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def no_noise() -> torch.Tensor:
    raise AssertionError("this sampler draws no noise")


def error(solver: solvers.Solver, steps: int) -> float:
    """Against the exact solution x(σ) ∝ √(SPREAD² + σ²), from σ 5 to 0.05."""
    sigmas = np.geomspace(5, 0.05, steps + 1).tolist()
    exact = math.sqrt((SPREAD**2 + 0.05**2) / (SPREAD**2 + 25))
    found = solver(gaussian, torch.ones(1, 1, dtype=torch.float64), sigmas, no_noise)
    return abs(found.item() / exact - 1)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_of_convergence(name: str) -> None:
    solver, order = DETERMINISTIC[name]
    coarse, fine = error(solver, 40), error(solver, 80)
    assert fine < 0.05
    assert coarse / fine > 0.85 * 2**order


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_samplers_reach_the_distribution(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (40000,)

    def noise() -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    sigmas = [*np.geomspace(14.6, 0.03, 200).tolist(), 0.0]
    x = noise() * math.sqrt(14.6**2 + SPREAD**2)
    found = STOCHASTIC[name](gaussian, x, sigmas, noise)
    assert abs(found.std().item() / SPREAD - 1) < 0.04
    assert abs(found.mean().item()) < 0.02


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"DDIM", "PLMS", "UniPC", "LCM"}))
def test_a_perfect_denoiser_is_followed_home(name: str) -> None:
    target = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    steps_seen: list[int] = []

    def denoise(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        steps_seen.append(step)
        return target

    solver = SAMPLERS[name].solver
    assert solver is not None
    sigmas = sigmas_for(SAMPLERS[name], "Automatic", 5, LEVELS)
    found = solver(denoise, torch.randn(2, 4, 3, 3) * sigmas[0], sigmas, lambda: torch.randn(2, 4, 3, 3))
    assert torch.allclose(found, target, atol=1e-4)
    assert len(sigmas) == 6
    assert sorted(set(steps_seen)) == [0, 1, 2, 3, 4]


def test_lagrange_integrals() -> None:
    nodes = [3.0, 4.5, 7.0]

    def basis(t: float, index: int) -> float:
        return math.prod((t - n) / (nodes[index] - n) for p, n in enumerate(nodes) if p != index)

    for index in range(3):
        expected = quad(basis, 3.0, 2.0, args=(index,))[0]
        assert solvers.lagrange_integral(nodes, index, 3.0, 2.0) == pytest.approx(expected, rel=1e-9)


def test_levels_of_the_published_schedule() -> None:
    assert pytest.approx(0.0292, abs=1e-4) == LEVELS.lowest
    assert pytest.approx(14.6146, abs=1e-3) == LEVELS.highest
    assert LEVELS.time_of(LEVELS.highest) == 999
    assert LEVELS.time_of(float(LEVELS.sigmas[500])) == pytest.approx(500)


def test_zero_terminal_signal() -> None:
    plain, zero = cumulative_signal(), cumulative_signal(zero_terminal_snr=True)
    assert zero[0] == pytest.approx(plain[0])
    assert zero[-1] == 2.0**-24
    assert (np.diff(zero) < 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_every_schedule_falls_from_the_top(name: str, steps: int) -> None:
    sigmas = sigmas_for(SAMPLERS["Euler"], name, steps, LEVELS)
    assert len(sigmas) == steps + 1
    assert all(a > b for a, b in itertools.pairwise(sigmas))
    assert sigmas[-1] == (pytest.approx(LEVELS.lowest) if name == "KL Optimal" else 0)
    if name != "DDIM":
        assert sigmas[0] == pytest.approx(LEVELS.highest, rel=1e-3)


def test_karras_by_its_formula() -> None:
    high, low = LEVELS.highest ** (1 / 7), LEVELS.lowest ** (1 / 7)
    expected = [(high + i / 4 * (low - high)) ** 7 for i in range(5)]
    assert sigmas_for(SAMPLERS["Euler"], "Karras", 5, LEVELS)[:-1] == pytest.approx(expected)


def test_samplers_that_drop_a_level() -> None:
    long = sigmas_for(SAMPLERS["Euler"], "Karras", 6, LEVELS)
    assert sigmas_for(SAMPLERS["DPM2"], "Automatic", 5, LEVELS) == [*long[:5], 0.0]


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [
        ("Euler a", "Automatic", ("Euler a", "Automatic")),
        ("dpm++ 2m", "karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M Karras", "Automatic", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M SDE Exponential", "Automatic", ("DPM++ 2M SDE", "Exponential")),
        ("k_euler_a", "SGM Uniform", ("Euler a", "SGM Uniform")),
    ],
)
def test_names(sampler: str, schedule: str, expected: tuple[str, str]) -> None:
    assert canonical_names(sampler, schedule) == expected


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: canonical_names("Eular"), "'Euler'"),
        (lambda: canonical_names("DPM2M"), "'DPM++ 2M'"),
        (lambda: canonical_names("Euler", "Caras"), "'Karras'"),
    ],
)
def test_unknown_names_offer_close_ones(call: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match="is called") as error:
        call()
    assert said in str(error.value)


def test_labels_of_infotext() -> None:
    assert label_of("DPM++ 2M", "Automatic") == "Karras"
    assert label_of("Euler", "Automatic") == "Automatic"
    assert label_of("Euler", "Simple") == "Simple"
