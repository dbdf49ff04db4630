"""Which few directions of a matrix hold its energy: randomized block Lanczos on A·Aᵀ.

Musco & Musco 2015 (block Krylov) show that keeping every power of A·Aᵀ in the basis needs fewer products
with A than subspace iteration (Halko, Martinsson & Tropp 2011, §4.5) for the same error. The block Lanczos
recurrence (Golub, Luk & Overton 1981) makes each product with Aᵀ both the next step and new rows of the
projection QᵀA, so no final pass over A is spent on projecting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

DEPENDENT = 1e-10
"""Eigenvalue of a unit-diagonal Gram matrix under which a direction is a combination of the others, up to
the rounding of fp32 entries: 1e-5 of a column's length."""

ROUNDING = 2.0**-23
"""A column this much shorter than the longest one first seen holds nothing but fp32 rounding."""

NOTHING = 1e-12
"""A step that adds this share of the energy found so far has met only the rounding of fp32 products."""


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


def orthonormalise(Y: Tensor, shortest: float, dependent: float = DEPENDENT) -> Tensor:
    """Orthonormal columns spanning those of Y (m, b); fewer than b where Y is rank-deficient.

    CholeskyQR on the float64 Gram matrix, scaled to a unit diagonal (Yamamoto et al. 2015): one product with
    Y, several times cheaper than Householder QR. Where the triangle is nearly singular the Gram matrix is
    diagonalised instead (SVQB, Stathopoulos & Wu 2002) and dependent directions are left out, so it never
    breaks down. Columns no longer than `shortest` are left out too.
    """
    gram = gram64(Y.T)
    lengths = gram.diagonal().clamp_min(0).sqrt()
    kept = lengths > shortest
    if not bool(kept.all()):
        Y, lengths, gram = Y[:, kept], lengths[kept], gram[kept][:, kept]
    if Y.shape[1] == 0:
        return Y
    scale = lengths.reciprocal()
    gram = scale[:, None] * gram * scale
    triangle, failed = torch.linalg.cholesky_ex(gram)
    if not bool(failed) and float(triangle.diagonal().min()) > dependent**0.5:
        identity = torch.eye(len(scale), dtype=gram.dtype, device=gram.device)
        transform = torch.linalg.solve_triangular(triangle, identity, upper=False).T
    else:
        values, vectors = torch.linalg.eigh(gram)
        sound = values > dependent
        transform = vectors[:, sound] * values[sound].rsqrt()
    basis: Tensor = Y @ (scale[:, None] * transform).to(Y.dtype)
    return basis


def complement(Y: Tensor, Q: Tensor, shortest: float) -> Tensor:
    """Orthonormal basis of what Y (m, b) adds to the span of Q (m, k): Gram–Schmidt in blocks, done twice.

    Twice is enough (Giraud, Langou & Rozložník 2005): the second pass removes what rounding put back. A
    direction that it shortens by half was itself rounding, left over from a vector inside Q, and is dropped.
    """
    Y = orthonormalise(Y - Q @ (Q.T @ Y), shortest)
    return orthonormalise(Y - Q @ (Q.T @ Y), shortest=0.5, dependent=0.25)


def block_lanczos(A: Tensor, block: int, generator: torch.Generator) -> Iterator[Projection]:
    """Projections of A (m, n) on Krylov spaces that grow by up to `block` columns a step.

    Ends by itself when nothing is left to find: all m directions are in the space, or A has no further rank.
    A step costs two products of A with `block` columns.
    """
    m, n = A.shape

    def sample() -> Tensor:
        start = torch.randn(n, min(block, n), generator=generator, dtype=A.dtype)
        return A @ start.to(A.device)

    Y = sample()
    shortest = ROUNDING * float(torch.linalg.vector_norm(Y, dim=0, dtype=torch.float64).max())
    Q, B = A.new_empty(m, 0), A.new_empty(0, n)
    gram = torch.zeros(0, 0, dtype=torch.float64, device=A.device)
    while Q.shape[1] < m:
        new = complement(Y, Q, shortest)[:, : m - Q.shape[1]]
        if new.shape[1] == 0:
            # Equal singular values close a Krylov space early; only fresh columns can tell that from the end.
            new = complement(sample(), Q, shortest)[:, : m - Q.shape[1]]
            if new.shape[1] == 0:
                return
        rows = new.T.contiguous() @ A
        cross, own = gram64(B, rows), gram64(rows)
        if float(own.trace()) <= NOTHING * float(gram.trace()):
            return
        gram = torch.cat([torch.cat([gram, cross], 1), torch.cat([cross.T, own], 1)])
        Q, B = torch.cat([Q, new], 1), torch.cat([B, rows])
        yield Projection(Q, B, gram)
        # Bringing the rows to unit length keeps the step's dynamic range at σ₁/σₖ instead of its square.
        Y = A @ orthonormalise(rows.T, shortest * ROUNDING)
