"""Exact factors of deltas that are no product of two thin matrices as they stand: Hadamard, Kronecker, dense.

Everything that computes with `Factors` then computes with these, too. Where a product of factors would be
no thinner than the delta, the delta itself stands beside a unit matrix on its smaller side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from loralathe.lowrank.factors import Factors

Pair = tuple[Tensor, Tensor]
"""left (rows, k) and right (k, columns): left · right is the matrix."""


def dense_factors(delta: Tensor) -> Factors:
    """A whole difference, (out, …), beside a unit matrix."""
    left, right = thin_pair(delta.reshape(delta.shape[0], -1))
    return Factors(left, right, tuple(delta.shape))


def hadamard_factors(first: Pair, second: Pair, shape: tuple[int, ...]) -> Factors:
    """(a₁·b₁) ∘ (a₂·b₂), (out, in…): columns a₁[:, i] ∘ a₂[:, j], rows b₁[i] ∘ b₂[j] (Khatri–Rao products).

    Rank r₁·r₂, where that is less than the smaller side.
    """
    (a1, b1), (a2, b2) = first, second
    if b1.shape[0] * b2.shape[0] >= min(a1.shape[0], b1.shape[1]):
        return dense_factors(((a1 @ b1) * (a2 @ b2)).reshape(shape))
    up = (a1[:, :, None] * a2[:, None, :]).flatten(1)
    down = (b1[:, None, :] * b2[None, :, :]).flatten(0, 1)
    return Factors(up, down, shape)


def kronecker_factors(first: Pair, second: Pair, shape: tuple[int, ...]) -> Factors:
    """(l₁·r₁) ⊗ (l₂·r₂) = (l₁ ⊗ l₂)·(r₁ ⊗ r₂), (out, in…); rank k₁·k₂, where that is thin.

    (Van Loan 2000, The ubiquitous Kronecker product, §2: the mixed-product property.)
    """
    (l1, r1), (l2, r2) = first, second
    if r1.shape[0] * r2.shape[0] >= min(shape[0], math.prod(shape[1:])):
        return dense_factors(torch.kron(l1 @ r1, l2 @ r2).reshape(shape))
    return Factors(torch.kron(l1, l2), torch.kron(r1, r2), shape)


def thin_pair(left: Tensor, right: Tensor | None = None) -> Pair:
    """Factors of a matrix, as thin as shapes tell: at most a unit matrix on the smaller side."""
    if right is not None:
        if right.shape[0] <= min(left.shape[0], right.shape[1]):
            return left, right
        left = left @ right
    rows, columns = left.shape
    unit = torch.eye(min(rows, columns), dtype=left.dtype, device=left.device)
    return (unit, left) if rows < columns else (left, unit)


def tucker_matrix(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Σ_rs core[r, s, k, l] · left[o, r] · right[s, i], as (o, i·k·l)."""
    return torch.einsum("rskl,or,si->oikl", core, left, right).flatten(1)
