"""The cuts that `benchmarks.lowrank_likeness` compares do what they say; else its table means nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from benchmarks.lowrank_deltas import MODULE_BYTES, Deltas, mixed, norm_kept, plain, shares, weighted

RNG = np.random.default_rng(3)
DELTA = torch.from_numpy(RNG.normal(size=(9, 3)) @ RNG.normal(size=(3, 7)))


def positive(size: int) -> torch.Tensor:
    roots = RNG.normal(size=(size, size))
    return torch.from_numpy(roots @ roots.T + 0.1 * np.eye(size))


def error(
    delta: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor], a: np.ndarray, b: np.ndarray
) -> float:
    """‖B^½ (Δ − M) A^½‖², as tr(Eᵀ B E A)."""
    gap = (delta - pair[0] @ pair[1]).numpy()
    return float(np.trace(gap.T @ b @ gap @ a))


def test_weighted_is_the_best_under_its_own_measure():
    a, b = positive(7), positive(9)
    found = weighted(DELTA, 1, a, b)
    # Closed form: the sum of the squared singular values that are left out, by numpy's Cholesky factors.
    left, right = np.linalg.cholesky(b.numpy()), np.linalg.cholesky(a.numpy())
    values = np.linalg.svd(left.T @ DELTA.numpy() @ right, compute_uv=False)
    assert error(DELTA, found, a.numpy(), b.numpy()) == pytest.approx((values[1:] ** 2).sum(), rel=1e-9)
    assert error(DELTA, plain(DELTA, 1), a.numpy(), b.numpy()) > error(DELTA, found, a.numpy(), b.numpy())


def test_without_weights_and_with_a_whole_share_it_is_plain():
    wanted = torch.linalg.multi_dot(plain(DELTA, 2))
    for a in (None, mixed(positive(7), 1.0)):
        assert torch.allclose(torch.linalg.multi_dot(weighted(DELTA, 2, a)), wanted)
    assert float(mixed(positive(7), 0.3).trace()) == pytest.approx(7)


def test_the_norm_is_kept():
    up, down = norm_kept(DELTA, 1)
    assert float((up @ down).norm()) == pytest.approx(float(DELTA.norm()))


def squares(name: str, u: torch.Tensor, s: torch.Tensor, vh: torch.Tensor) -> torch.Tensor:
    return s.square()


def reversed_worth(name: str, u: torch.Tensor, s: torch.Tensor, vh: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(s)).double() + 1


@pytest.mark.parametrize("worth", [squares, reversed_worth])
def test_shares_take_no_more_bytes_and_hold_what_is_worth_most(worth: Callable[..., torch.Tensor]):
    large = torch.from_numpy(RNG.normal(size=(9, 7))) * 5
    deltas = Deltas({"small": DELTA, "large": large}, {"small": "IN04", "large": "MID"})
    found = shares(deltas, 2, worth)
    held = [(up.shape[1], 2 * (up.numel() + down.numel())) for up, down in found.values()]
    taken = sum(nbytes + MODULE_BYTES * (rank > 0) for rank, nbytes in held)
    assert taken <= 2 * MODULE_BYTES + 2 * 2 * 2 * (9 + 7)
    for name, (up, down) in found.items():
        u, s, vh = torch.linalg.svd(deltas.of[name], full_matrices=False)
        order = worth(name, u, s, vh).argsort(descending=True, stable=True)[: up.shape[1]]
        assert torch.allclose(up @ down, (u[:, order] * s[order]) @ vh[order])
