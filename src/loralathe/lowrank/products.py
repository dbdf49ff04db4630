"""Differences that are Kronecker or Hadamard products, measured without being multiplied out.

A few kilobytes of factors can make a layer of 10⁸ numbers. Its norm, its inner products and its directions
come from the factors, or from a few of its rows at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from loralathe.lowrank.factors import Factors, Pair, factors_energy, flatten_tucker, inner
from loralathe.lowrank.svd import SVD, Overlap, factored_svd

BAND = 1 << 20
"""Numbers of a product that are held at once."""


@dataclass(frozen=True)
class Kronecker:
    """first ⊗ second, both as factors of matrices: (o₁·o₂, i₁·i₂)."""

    first: Factors
    second: Factors

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        (o1, i1), (o2, i2) = self.first.shape, self.second.shape
        return o1 * o2, i1 * i2

    @property
    def turned(self) -> Kronecker:
        """Rows and columns in each other's place."""
        return Kronecker(_turned(self.first), _turned(self.second))

    def scaled(self, scale: float) -> Kronecker:
        return replace(self, first=replace(self.first, up=self.first.up * scale))

    def rows(self, start: int, stop: int) -> Tensor:
        number = torch.arange(start, stop)
        below = self.second.shape[0]
        left = self.first.up[number // below] @ self.first.down
        right = self.second.up[number % below] @ self.second.down
        return (left[:, :, None] * right[:, None, :]).flatten(1)

    @cached_property
    def decomposed(self) -> tuple[SVD, SVD]:
        """Singular values of the product are the products of theirs; so are its directions."""
        return factored_svd(self.first.up, self.first.down), factored_svd(self.second.up, self.second.down)

    def leading(self, rank: int | None) -> Tensor:
        """(r₁, r₂), 1 where that pair of directions is among the `rank` leading ones of the product."""
        first, second = self.decomposed
        values = first.S.double()[:, None] * second.S.double()
        kept = torch.zeros_like(values).flatten()
        kept[values.flatten().argsort(descending=True, stable=True)[:rank]] = 1.0
        return kept.view_as(values)


@dataclass(frozen=True)
class Hadamard:
    """(a₁·b₁) ∘ (a₂·b₂), (out, in)."""

    first: Pair
    second: Pair

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.first[0].shape[0], self.first[1].shape[1]

    @property
    def turned(self) -> Hadamard:
        """Rows and columns in each other's place."""
        (a1, b1), (a2, b2) = self.first, self.second
        return Hadamard((b1.T, a1.T), (b2.T, a2.T))

    def scaled(self, scale: float) -> Hadamard:
        return replace(self, first=(self.first[0] * scale, self.first[1]))

    def rows(self, start: int, stop: int) -> Tensor:
        (a1, b1), (a2, b2) = self.first, self.second
        return (a1[start:stop] @ b1) * (a2[start:stop] @ b2)


@dataclass(frozen=True)
class Plain:
    """Any other difference, beside one of the products."""

    factors: Factors

    @cached_property
    def _flat(self) -> Factors:
        return flatten_tucker(self.factors)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._flat.up.shape[0], self._flat.down.shape[1]

    @property
    def turned(self) -> Plain:
        """Rows and columns in each other's place."""
        return Plain(_turned(self._flat))

    def rows(self, start: int, stop: int) -> Tensor:
        return self._flat.up[start:stop] @ self._flat.down


@dataclass(frozen=True)
class Swapped:
    """One of the products with the two halves of its rows (axis 0) or columns in each other's place."""

    product: Kronecker | Hadamard
    axis: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.product.size

    @property
    def turned(self) -> Swapped:
        """Rows and columns in each other's place."""
        return Swapped(self.product.turned, 1 - self.axis)

    def rows(self, start: int, stop: int) -> Tensor:
        if self.axis == 1:
            return self.product.rows(start, stop).roll(self.size[1] // 2, 1)
        every, half = self.size[0], self.size[0] // 2
        begin, end = start - half, stop - half  # counted from the end where negative
        below = [(begin + every, min(end, 0) + every)] if begin < 0 else []
        above = [(max(begin, 0), end)] if end > 0 else []
        return torch.cat([self.product.rows(*part) for part in below + above])


Product = Kronecker | Hadamard | Plain | Swapped


def product_inner(x: Product, y: Product) -> float:
    """⟨x, y⟩ in float64; ⟨a⊗b, c⊗d⟩ = ⟨a, c⟩·⟨b, d⟩ where a is as large as c."""
    if isinstance(x, Plain) and isinstance(y, Plain):
        return inner(x.factors, y.factors)
    if isinstance(x, Kronecker) and isinstance(y, Kronecker) and _same_sides(x, y):
        return inner(x.first, y.first) * inner(x.second, y.second)
    if x.size[0] < x.size[1]:
        x, y = x.turned, y.turned
    rows, columns = x.size
    step = max(BAND // columns, 1)
    bands = ((start, min(start + step, rows)) for start in range(0, rows, step))
    return math.fsum(float((x.rows(*band).double() * y.rows(*band)).sum()) for band in bands)


def _turned(factors: Factors) -> Factors:
    return Factors(factors.down.T, factors.up.T, (factors.down.shape[1], factors.up.shape[0]))


def product_energy(x: Product) -> float:
    """‖x‖², at least 0."""
    x = x.product if isinstance(x, Swapped) else x
    if isinstance(x, Kronecker):
        return factors_energy(x.first) * factors_energy(x.second)
    return max(product_inner(x, x), 0.0)


def kronecker_directions(x: Product, y: Product, rank: int | None) -> Overlap | None:
    """`compare_directions` of two Kronecker products; None of others, and of sides of different sizes.

    ‖(U₁⊗V₁)ᵀ·(U₂⊗V₂)‖² over the pairs P and Q that are kept = Σ P ∘ (‖U₁ᵀU₂‖² · Q · ‖V₁ᵀV₂‖²ᵀ), the
    squares element by element.
    """
    if not (isinstance(x, Kronecker) and isinstance(y, Kronecker) and _same_sides(x, y)):
        return None
    P, Q = x.leading(rank), y.leading(rank)
    smaller = min(float(P.sum()), float(Q.sum()))
    if not smaller:
        return Overlap(0.0, 0.0)
    (a, b), (c, d) = x.decomposed, y.decomposed
    up = P * (_cosines(a.U, c.U) @ Q @ _cosines(b.U, d.U).T)
    down = P * (_cosines(a.Vh.T, c.Vh.T) @ Q @ _cosines(b.Vh.T, d.Vh.T).T)
    return Overlap(min(float(up.sum()) / smaller, 1.0), min(float(down.sum()) / smaller, 1.0))


def _same_sides(x: Kronecker, y: Kronecker) -> bool:
    return (x.first.shape, x.second.shape) == (y.first.shape, y.second.shape)


def same_numbers(x: Product, y: Product) -> bool:
    """Whether both are made of the same factors."""
    if isinstance(x, Swapped) or isinstance(y, Swapped):
        return False
    one, other = _tensors(x), _tensors(y)
    return type(x) is type(y) and all(map(torch.equal, one, other))


def _tensors(x: Kronecker | Hadamard | Plain) -> list[Tensor]:
    if isinstance(x, Hadamard):
        return [*x.first, *x.second]
    every = [x.factors] if isinstance(x, Plain) else [x.first, x.second]
    return [tensor for factors in every for tensor in (factors.up, factors.down)]


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    """Squares of the cosines between columns."""
    return (one.double().T @ other.double()).square()
