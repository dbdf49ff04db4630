"""A LoRA merged into an fp16 file and extracted again: how much of it comes back."""

from __future__ import annotations

import math

import pytest
from torch import Tensor

from loralathe.lowrank import (
    choose_rank,
    energy,
    randomized_svd,
    rounding_noise_energy,
    rounding_noise_sigma,
    split_sqrt,
)
from lowrank.matrices import normal

SHAPES = [(320, 320), (640, 640), (640, 2560), (1280, 1280)]
RANK = 16


def merged(shape: tuple[int, int], delta_rms: float, seed: int) -> tuple[Tensor, Tensor]:
    """True delta of rank 16 (float64), and what two fp16 files say it is, as fp32."""
    base = (normal(*shape, seed=seed) * 0.03).half()
    delta = normal(shape[0], RANK, seed=seed + 1) @ normal(RANK, shape[1], seed=seed + 2)
    delta *= delta_rms / math.sqrt(RANK)
    return delta, (base.double() + delta).half().float() - base.float()


def extract(difference: Tensor, requested: int) -> tuple[Tensor, int, str]:
    """The extracted delta, its rank, and the reason for the rank."""
    shape = (difference.shape[0], difference.shape[1])
    floor = rounding_noise_sigma(0.03, shape, "F16")
    svd = randomized_svd(difference, requested, floor=floor)
    choice = choose_rank(svd.S, requested, floor, shape)
    up, down = split_sqrt(svd.truncate(choice.rank))
    return (up @ down).double(), choice.rank, choice.reason


@pytest.mark.parametrize("times", [1, 4], ids=["at its rank", "at four times its rank"])
@pytest.mark.parametrize(("delta_rms", "allowed"), [(1e-4, 0.02), (1e-3, 0.01)])
def test_a_merged_lora_comes_back(delta_rms: float, allowed: float, times: int) -> None:
    lost = whole = 0.0
    for seed, shape in enumerate(SHAPES):
        delta, difference = merged(shape, delta_rms, 10 * seed)
        found, rank, reason = extract(difference, times * RANK)
        assert rank == RANK
        assert reason == ("requested" if times == 1 else "noise")
        lost += energy(found - delta)
        whole += energy(delta)
    assert math.sqrt(lost / whole) <= allowed


def test_what_is_not_kept_is_the_energy_of_rounding() -> None:
    shape = (640, 640)
    _, difference = merged(shape, 1e-4, 0)
    svd, total = randomized_svd(difference, RANK), energy(difference)
    left_out = total - float(svd.S.double().square().sum())
    assert left_out == pytest.approx(rounding_noise_energy(0.03, shape, "F16"), rel=0.1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_delta_of_nothing_but_rounding_gets_rank_zero(shape: tuple[int, int]) -> None:
    weights = normal(*shape, seed=3).float() * 0.03
    _, rank, reason = extract(weights.half().float() - weights, 32)
    assert (rank, reason) == (0, "noise")
