"""Which few directions of a matrix hold its energy: randomized block Lanczos on A·Aᵀ.

Musco & Musco 2015 (block Krylov) show that keeping every power of A·Aᵀ in the basis needs fewer products
with A than subspace iteration (Halko, Martinsson & Tropp 2011, §4.5) for the same error. Golub, Luk & Overton
1981 give the recurrence used here: each product with Aᵀ is both the next step and a row of the projection QᵀA,
so no final pass over A is spent on projecting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

DEPENDENT = 1e-12
"""Eigenvalue of a unit-diagonal Gram matrix under which a direction is a combination of the others."""

ROUNDING = 2.0**-23
"""A column this much shorter than the longest one first seen holds nothing but fp32 rounding."""


@dataclass(frozen=True)
class Projection:
    """Q (m, k) with orthonormal columns, B = QᵀA (k, n), and the Gram matrix B·Bᵀ (k, k) in float64."""

    Q: Tensor
    B: Tensor
    gram: Tensor


def gram64(A: Tensor, B: Tensor | None = None, chunk: int = 4096) -> Tensor:
    """A·Bᵀ (A·Aᵀ without B) in float64, of (k, n) and (l, n); columns are widened a chunk at a time.

    Widening first costs twice the fp32 product and squares no small value away: singular values down to
    1e-8 of the largest stay visible, and nothing under- or overflows.
    """
    B = A if B is None else B
    total = torch.zeros(A.shape[0], B.shape[0], dtype=torch.float64, device=A.device)
    for start in range(0, A.shape[1], chunk):
        part = A[:, start : start + chunk].double()
        other = part if B is A else B[:, start : start + chunk].double()
        total.addmm_(part, other.T)
    return total


def orthonormalise(Y: Tensor, shortest: float = 0.0) -> Tensor:
    """Orthonormal columns spanning those of Y (m, b); fewer than b where Y is rank-deficient.

    SVQB (Stathopoulos & Wu 2002): the Gram matrix, scaled to a unit diagonal, is diagonalised in float64. One
    product with Y, as cheap as CholeskyQR, but it never breaks down: dependent directions are left out, and so
    are columns no longer than `shortest`.
    """
    gram = gram64(Y.T)
    lengths = gram.diagonal().clamp_min(0).sqrt()
    kept = lengths > shortest
    if not bool(kept.any()):
        return Y[:, :0]
    scale = torch.where(kept, lengths, 1.0).reciprocal() * kept
    values, vectors = torch.linalg.eigh(scale[:, None] * gram * scale)
    sound = values > DEPENDENT * values[-1]
    transform = scale[:, None] * vectors[:, sound] * values[sound].rsqrt()
    return Y @ transform.to(Y.dtype)


def complement(Y: Tensor, Q: Tensor, shortest: float) -> Tensor:
    """Orthonormal basis of what Y (m, b) adds to the span of Q (m, k): Gram–Schmidt in blocks, done twice.

    Twice is enough (Giraud, Langou & Rozložník 2005): the second pass removes what rounding put back.
    """
    for floor in (shortest, 0.0):
        if Q.shape[1]:
            Y = Y - Q @ (Q.T @ Y)
        Y = orthonormalise(Y, floor)
    return Y


def block_lanczos(A: Tensor, block: int, generator: torch.Generator) -> Iterator[Projection]:
    """Projections of A (m, n) on Krylov spaces that grow by up to `block` columns a step.

    Ends by itself when the space is exhausted: all m directions are in it, or A has no further rank.
    A step costs two products of A with `block` columns.
    """
    m, n = A.shape
    start = torch.randn(n, min(block, n), generator=generator, dtype=A.dtype)
    Y = A @ start.to(A.device)
    shortest = ROUNDING * float(torch.linalg.vector_norm(Y, dim=0, dtype=torch.float64).max())
    Q, B = A.new_empty(m, 0), A.new_empty(0, n)
    gram = torch.zeros(0, 0, dtype=torch.float64, device=A.device)
    while Q.shape[1] < m:
        new = complement(Y, Q, shortest)[:, : m - Q.shape[1]]
        if new.shape[1] == 0:
            return
        rows = new.T.contiguous() @ A
        cross, own = gram64(B, rows), gram64(rows)
        gram = torch.cat([torch.cat([gram, cross], 1), torch.cat([cross.T, own], 1)])
        Q, B = torch.cat([Q, new], 1), torch.cat([B, rows])
        yield Projection(Q, B, gram)
        # Bringing the rows to unit length keeps the step's dynamic range at σ₁/σₖ instead of its square.
        Y = A @ orthonormalise(rows.T, shortest * ROUNDING)
