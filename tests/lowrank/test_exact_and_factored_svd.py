"""The exact and the factored SVD against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loralathe.lowrank import SVD, exact_svd, factored_svd, split_sqrt
from lowrank.matrices import normal, power_law

SIZES = st.integers(1, 24)


def product(svd: SVD) -> torch.Tensor:
    return (svd.U.double() * svd.S.double()) @ svd.Vh.double()


@settings(max_examples=60, deadline=None)
@given(rows=SIZES, columns=SIZES, seed=st.integers(0, 1000))
def test_exact_svd_restores_the_matrix(rows: int, columns: int, seed: int) -> None:
    A = normal(rows, columns, seed=seed)
    svd = exact_svd(A)
    torch.testing.assert_close(product(svd), A, rtol=0, atol=1e-12)
    np.testing.assert_allclose(svd.S, np.linalg.svd(A.numpy(), compute_uv=False), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shape", [(60, 60), (200, 40), (40, 200)], ids=str)
def test_exact_svd_is_the_optimum_at_every_rank(shape: tuple[int, int]) -> None:
    A, values = power_law(*shape, 0.7)
    for rank in (1, 7, 40, 100):
        svd = exact_svd(A, rank)
        assert svd.S.shape == (min(rank, 40 if 40 in shape else 60),)
        assert float((A - product(svd)).norm()) == pytest.approx(float(values[rank:].norm()), abs=1e-12)


def test_exact_svd_of_zeros_is_empty() -> None:
    assert exact_svd(torch.zeros(5, 3)).S.shape == (0,)


@settings(max_examples=60, deadline=None)
@given(rows=SIZES, columns=SIZES, inner=SIZES, seed=st.integers(0, 1000))
def test_factored_svd_is_the_svd_of_the_product(rows: int, columns: int, inner: int, seed: int) -> None:
    up, down = normal(rows, inner, seed=seed), normal(inner, columns, seed=seed + 1)
    svd = factored_svd(up, down)
    torch.testing.assert_close(product(svd), up @ down, rtol=0, atol=1e-11)
    expected = np.linalg.svd((up @ down).numpy(), compute_uv=False)[: len(svd.S)]
    np.testing.assert_allclose(svd.S, expected, rtol=1e-9, atol=1e-12)
    eye = torch.eye(len(svd.S), dtype=torch.float64)
    torch.testing.assert_close(svd.U.T @ svd.U, eye, rtol=0, atol=1e-10)
    torch.testing.assert_close(svd.Vh @ svd.Vh.T, eye, rtol=0, atol=1e-10)


def test_factored_svd_in_fp32_keeps_fp32_accuracy_at_tiny_scales() -> None:
    up, down = normal(320, 16) * 1e-8, normal(16, 640) * 1e-9
    svd = factored_svd(up.float(), down.float(), 16)
    exact = up @ down
    assert float((product(svd) - exact).norm()) <= 1e-6 * float(exact.norm())


def test_factored_svd_truncates_optimally() -> None:
    up, down = normal(50, 20), normal(20, 70)
    values = torch.linalg.svdvals(up @ down)
    rest = float((up @ down - product(factored_svd(up, down, 6))).norm())
    assert rest == pytest.approx(float(values[6:].norm()), rel=1e-10)


def test_cancelling_factors_have_rank_zero() -> None:
    up, down = normal(50, 8).float(), normal(8, 70).float()
    svd = factored_svd(torch.cat([up, -up], 1), torch.cat([down, down]))
    assert len(svd.S) == 0
    assert svd.U.shape == (50, 0)
    assert svd.Vh.shape == (0, 70)


def test_split_sqrt_gives_both_factors_the_same_norms() -> None:
    A, _ = power_law(30, 40, 1.0)
    svd = exact_svd(A, 5)
    up, down = split_sqrt(svd)
    torch.testing.assert_close(up @ down, product(svd))
    torch.testing.assert_close(up.norm(dim=0), down.norm(dim=1))
