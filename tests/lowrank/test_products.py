"""Kronecker and Hadamard products are measured as their dense matrices would be."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from loralathe.lowrank import (
    Factors,
    Hadamard,
    Kronecker,
    Plain,
    Product,
    compare_directions,
    compress,
    dense_factors,
    kronecker_directions,
    product_energy,
    product_inner,
    products,
    same_numbers,
)

SIZES = ((12, 30), (30, 12))


def factors(out: int, width: int, rank: int = 2) -> Factors:
    return Factors(torch.randn(out, rank), torch.randn(rank, width), (out, width))


def every(out: int, width: int) -> list[Product]:
    """Two Kronecker products of equal sides and one of others, a Hadamard product, any other."""
    torch.manual_seed(0)
    return [
        *(Kronecker(factors(3, 2), factors(out // 3, width // 2)) for _ in range(2)),
        Kronecker(factors(2, 3), factors(out // 2, width // 3)),
        Hadamard((torch.randn(out, 4), torch.randn(4, width)), (torch.randn(out, 5), torch.randn(5, width))),
        Plain(factors(out, width)),
    ]


def dense(made: Product) -> Tensor:
    if isinstance(made, Kronecker):
        first, second = (one.up @ one.down for one in (made.first, made.second))
        return torch.kron(first, second)
    return made.rows(0, made.size[0])


@pytest.mark.parametrize("size", SIZES)
def test_inner_products(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr(products, "BAND", 70)
    for x, y in product(every(*size), repeat=2):
        assert x.size == size
        wanted = float((dense(x).double() * dense(y)).sum())
        scale = float(dense(x).norm() * dense(y).norm())
        assert product_inner(x, y) == pytest.approx(wanted, abs=1e-6 * scale)
    for x in every(*size):
        assert product_energy(x) == pytest.approx(float(dense(x).double().square().sum()), rel=1e-6)


@pytest.mark.parametrize("rank", [None, 1, 3])
def test_directions_of_kronecker_products(rank: int | None) -> None:
    x, y, other, *_ = every(12, 30)
    found = kronecker_directions(x, y, rank)
    one, two = (compress([dense_factors(dense(made))], [1.0], rank) for made in (x, y))
    wanted = compare_directions(one, two)
    assert found is not None
    assert (found.up, found.down) == pytest.approx((wanted.up, wanted.down), abs=1e-5)
    assert kronecker_directions(x, other, rank) is None


def test_the_same_factors() -> None:
    first, again = every(12, 30), every(12, 30)
    for (number, x), (other, y) in product(enumerate(first), enumerate(again)):
        assert same_numbers(x, y) == (number == other)
