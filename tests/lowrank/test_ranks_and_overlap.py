"""Rank choice, and the comparison of subspaces."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from loralathe.errors import InputError
from loralathe.lowrank import (
    Factors,
    RankChoice,
    choose_rank,
    compare_directions,
    compress,
    exact_svd,
    randomized_svd,
    subspace_overlap,
)
from lowrank.matrices import normal, orthonormal, with_singular_values


@pytest.mark.parametrize(
    ("values", "requested", "floor", "shape", "expected"),
    [
        ([4, 3, 2, 1], 2, 0.0, (9, 9), RankChoice(2, "requested")),
        ([4, 3, 2, 1], 4, 0.0, (9, 9), RankChoice(4, "requested")),
        ([4, 3, 2, 1], 4, 2.0, (9, 9), RankChoice(2, "noise")),
        ([4, 3, 2, 1], 4, 9.0, (9, 9), RankChoice(0, "noise")),
        ([4, 3, 2], 64, 0.0, (3, 9), RankChoice(3, "shape")),
        ([4, 3, 2], 64, 2.5, (3, 9), RankChoice(2, "noise")),
        ([4, 3, 1e-8], 3, 0.0, (9, 9), RankChoice(2, "noise")),
        ([4, 3], 3, 0.0, None, RankChoice(2, "noise")),
        ([], 3, 0.0, (9, 9), RankChoice(0, "zero")),
        ([0, 0], 3, 1.0, (9, 9), RankChoice(0, "zero")),
    ],
)
def test_rank_and_reason(
    values: list[float], requested: int, floor: float, shape: tuple[int, int] | None, expected: RankChoice
) -> None:
    assert choose_rank(torch.tensor(values, dtype=torch.float32), requested, floor, shape) == expected


def test_a_rank_below_one_is_the_persons_error() -> None:
    with pytest.raises(InputError, match="rank 0 is too small"):
        choose_rank(torch.ones(3), 0)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(8, 30), first=st.integers(1, 8), second=st.integers(1, 8), seed=st.integers(0, 99))
def test_overlap_is_the_mean_squared_cosine_of_scipys_angles(
    size: int, first: int, second: int, seed: int
) -> None:
    Q1, Q2 = orthonormal(size, first, seed), orthonormal(size, second, seed + 100)
    angles = torch.from_numpy(subspace_angles(Q1.numpy(), Q2.numpy()).copy())
    # scipy finds an angle of 0 to about the root of the rounding only.
    assert subspace_overlap(Q1, Q2) == pytest.approx(float(angles.cos().square().mean()), abs=1e-9)


def test_contained_orthogonal_and_empty_subspaces() -> None:
    Q = orthonormal(20, 10, 0)
    assert subspace_overlap(Q[:, :3], Q) == pytest.approx(1.0)
    assert subspace_overlap(Q[:, :5], Q[:, 5:]) == pytest.approx(0.0, abs=1e-20)
    assert subspace_overlap(Q[:, :0], Q) == 0.0


def test_random_subspaces_overlap_by_chance_only() -> None:
    assert subspace_overlap(orthonormal(400, 20, 1), orthonormal(400, 40, 2)) == pytest.approx(0.1, rel=0.2)


def test_dense_and_factored_deltas_can_be_compared() -> None:
    up, down, other = normal(60, 4), normal(4, 80), normal(4, 80, seed=5)
    factored = compress([Factors(up, down, (60, 80))], [1.0])
    matrix = randomized_svd((up @ other).float(), 4)
    found = compare_directions(factored, matrix)
    assert found.up == pytest.approx(1.0, abs=1e-5)
    assert found.down < 0.3


def test_leading_directions_only() -> None:
    A = with_singular_values(torch.tensor([9.0, 8, 1, 1]), 40, 50)
    B = exact_svd(A).truncate(2)
    assert compare_directions(exact_svd(A), B).up == pytest.approx(1.0)
    assert B.U.shape == (40, 2)
