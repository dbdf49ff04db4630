"""A difference of weights as a product of thin factors, and the algebra that never multiplies them out.

Differences that are not such a product as they stand (Hadamard, Kronecker, dense) become one, exactly.
Where its factors would not be thinner than the delta, they are the delta itself and a unit matrix on its
smaller side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loralathe.lowrank.rangefinder import gram64
from loralathe.lowrank.svd import SVD, empty_svd, factored_svd

Pair = tuple[Tensor, Tensor]
"""left (rows, k) and right (k, columns): left · right is the matrix."""


@dataclass(frozen=True)
class Factors:
    """A delta of a weight of `shape`, (out, in) or (out, in, kh, kw); every scale is already inside.

    Plain: up (out, r), down (r, in·kh·kw), delta = up · down in `shape`.
    Tucker (LoCon with a mid tensor): up (out, r), down (s, in), mid (r, s, kh, kw),
    delta[o, c, k, l] = Σ_ij mid[i, j, k, l] · up[o, i] · down[j, c].
    """

    up: Tensor
    down: Tensor
    shape: tuple[int, ...]
    mid: Tensor | None = None

    def __post_init__(self) -> None:
        out, width = self.shape[0], math.prod(self.shape[1:])
        inner = (self.up.shape[1], width)
        if self.mid is not None:
            inner = (self.mid.shape[1], self.shape[1])
            if self.mid.shape != (self.up.shape[1], self.down.shape[0], *self.shape[2:]):
                raise ValueError(f"mid {tuple(self.mid.shape)} does not fit a weight of {self.shape}")
        if tuple(self.up.shape[:1]) != (out,) or tuple(self.down.shape) != inner:
            shapes = f"up {tuple(self.up.shape)} and down {tuple(self.down.shape)}"
            raise ValueError(f"{shapes} do not fit a weight of {self.shape}")

    @property
    def rank(self) -> int:
        """Columns of up: an upper bound of the delta's rank."""
        return self.up.shape[1]


def flatten_tucker(factors: Factors) -> Factors:
    """The same delta as two factors: mid is folded into down, exactly; plain factors come back as they are.

    down'[i, (c, k, l)] = Σ_j mid[i, j, k, l] · down[j, c].
    """
    if factors.mid is None:
        return factors
    down = torch.einsum("ijkl,jc->ickl", factors.mid, factors.down).reshape(factors.rank, -1)
    return replace(factors, down=down, mid=None)


def moved(factors: Factors, device: torch.device) -> Factors:
    """The same on another device."""
    mid = None if factors.mid is None else factors.mid.to(device)
    return replace(factors, up=factors.up.to(device), down=factors.down.to(device), mid=mid)


def dense(factors: Factors) -> Tensor:
    """The delta itself, in the weight's shape."""
    plain = flatten_tucker(factors)
    return (plain.up @ plain.down).reshape(plain.shape)


def concatenate(terms: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """Σ weight · term as one pair of factors of the summed rank: exact, nothing is averaged or squared.

    The weight goes on up alone, keeping its sign; terms of weight 0 take no columns.
    """
    if not terms or len(terms) != len(weights):
        raise ValueError(f"{len(terms)} terms and {len(weights)} weights cannot be summed")
    shape = terms[0].shape
    if any(term.shape != shape for term in terms):
        raise ValueError(f"terms of different weights: {sorted({term.shape for term in terms})}")
    used = [(flatten_tucker(t), w) for t, w in zip(terms, weights, strict=True) if w != 0]
    if not used:
        first = flatten_tucker(terms[0])
        return replace(first, up=first.up[:, :0], down=first.down[:0])
    up = torch.cat([weight * term.up for term, weight in used], dim=1)
    down = torch.cat([term.down for term, _ in used])
    return Factors(up, down, shape)


def compress(terms: Sequence[Factors], weights: Sequence[float], rank: int | None = None) -> SVD:
    """The best rank-`rank` approximation of Σ weight · term (Eckart–Young), found in factor space."""
    total = concatenate(terms, weights)
    if total.rank == 0:
        return empty_svd(total.up @ total.down)
    return factored_svd(total.up, total.down, rank)


def inner(a: Factors, b: Factors) -> float:
    """⟨ΔA, ΔB⟩ = tr(ΔAᵀ·ΔB) = Σ (upAᵀ·upB) ∘ (downA·downBᵀ), in float64, without either product."""
    if a.shape != b.shape:
        raise ValueError(f"deltas of different weights: {a.shape} and {b.shape}")
    left, right = flatten_tucker(a), flatten_tucker(b)
    return float((gram64(left.up.T, right.up.T) * gram64(left.down, right.down)).sum())


def factors_energy(factors: Factors) -> float:
    """‖Δ‖_F² of a factored delta; at least 0, whatever the rounding of terms that cancel."""
    return max(inner(factors, factors), 0.0)


def cosine(a: Factors, b: Factors) -> float:
    """Cosine of the angle between two deltas as vectors; 0 when one of them is zero."""
    scale = math.sqrt(factors_energy(a)) * math.sqrt(factors_energy(b))
    return inner(a, b) / scale if scale > 0 else 0.0


def dense_factors(delta: Tensor) -> Factors:
    """A whole difference, (out, …), and a unit matrix."""
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


def tucker_sides(core: Tensor, left: Tensor, right: Tensor) -> Pair:
    """The matrix that `tucker_matrix` makes of (r, o) and (s, i), as (o, r) and (r, i·k·l)."""
    return left.T, torch.einsum("rskl,si->rikl", core, right).flatten(1)
