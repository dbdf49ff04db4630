"""The few directions that hold most of a matrix's energy: randomized block Lanczos on A·Aᵀ.

Musco & Musco 2015 (block Krylov) show that keeping every power of A·Aᵀ in the basis needs fewer products
with A than subspace iteration (Halko, Martinsson & Tropp 2011, §4.5) for the same error. The block Lanczos
recurrence (Golub, Luk & Overton 1981) makes each product with Aᵀ both the next step and new rows of the
projection QᵀA, so no final pass over A is spent on projecting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

DEPENDENT = 1e-10
"""Eigenvalue of a unit-diagonal Gram matrix under which a direction is a combination of the others, up to
the rounding of fp32 entries: 1e-5 of a column's length."""

ROUNDING = 2.0**-23
"""A column this much shorter than the longest column of the first sample is only fp32 rounding."""

NOTHING = 1e-12
"""A step that adds at most this share of the energy found so far has found only fp32 rounding."""


@dataclass(frozen=True)
class Projection:
    """Q (m, k) with orthonormal columns, B = QᵀA (k, n), and the Gram matrix B·Bᵀ (k, k) in float64."""

    Q: Tensor
    B: Tensor
    gram: Tensor

    @cached_property
    def ritz(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of the Gram matrix (k,), falling, and its eigenvectors (k, k), in columns."""
        values, vectors = torch.linalg.eigh(self.gram)
        return values.flip(0), vectors.flip(1)


STRIP = 64
"""Rows of a wide matrix that one product takes: as many as stay in a core's cache beside the result."""


def rows_times(rows: Tensor, A: Tensor) -> Tensor:
    """rows (b, m) · A (m, n) with b much smaller than m and n, computed in the order that reads A fastest.

    The library repacks a right factor of row-major storage before it multiplies, which takes as long as the
    product itself. As a left factor it need not; and in strips the packed part never leaves the cache.
    """
    if A.T.is_contiguous():
        return (A.T @ rows.T).T
    if A.device.type != "cpu" or A.shape[1] <= A.shape[0]:
        return rows @ A
    total = rows.new_zeros(rows.shape[0], A.shape[1])
    for part, strip in zip(torch.split(rows, STRIP, 1), torch.split(A, STRIP), strict=True):
        total.addmm_(part, strip)
    return total


def times_columns(A: Tensor, columns: Tensor) -> Tensor:
    """A (m, n) · columns (n, b); see `rows_times`."""
    if A.is_contiguous():
        return A @ columns
    return rows_times(columns.T.contiguous(), A.T).T


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


def orthonormalise(
    Y: Tensor, shortest: float, dependent: float = DEPENDENT, gram: Tensor | None = None
) -> Tensor:
    """Orthonormal columns spanning those of Y (m, b); fewer than b where Y is rank-deficient.

    CholeskyQR on the float64 Gram matrix, scaled to a unit diagonal (Yamamoto et al. 2015): one product with
    Y, several times cheaper than Householder QR. Where the triangle is nearly singular the Gram matrix is
    diagonalised instead (SVQB, Stathopoulos & Wu 2002) and dependent directions are left out, so it never
    breaks down. Columns no longer than `shortest` are left out too. `gram` is YᵀY in float64 where the
    caller has it.
    """
    gram = gram64(Y.T) if gram is None else gram
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
    """Orthonormal basis of the part of Y (m, b) outside the span of Q (m, k): block Gram–Schmidt, twice.

    Twice is enough (Giraud, Langou & Rozložník 2005): the second pass removes what rounding put back. A
    direction that it shortens by half was itself rounding, left over from a vector inside Q, and is dropped.
    """
    Y = orthonormalise(torch.addmm(Y, Q, Q.T @ Y, alpha=-1), shortest)
    return orthonormalise(torch.addmm(Y, Q, Q.T @ Y, alpha=-1), shortest=0.5, dependent=0.25)


class _Basis:
    """Qᵀ (k, m), B = QᵀA (k, n) and B·Bᵀ in memory allocated once; adding a block copies nothing."""

    def __init__(self, A: Tensor, most: int) -> None:
        m, n = A.shape
        self._A = A
        self._Qt, self._B = A.new_empty(most, m), A.new_empty(most, n)
        self._gram = torch.empty(most, most, dtype=torch.float64, device=A.device)
        self.size = 0

    @property
    def now(self) -> Projection:
        k = self.size
        return Projection(self._Qt[:k].T, self._B[:k], self._gram[:k, :k])

    def grow(self, new: Tensor) -> Projection | None:
        """Add columns `new` (m, b) to Q; their own projection, or None where they add only rounding."""
        old, added = slice(0, self.size), slice(self.size, self.size + new.shape[1])
        columns, rows = self._Qt[added], self._B[added]
        rows.copy_(rows_times(columns.copy_(new.T), self._A))
        own = gram64(rows)
        if float(own.trace()) <= NOTHING * float(self._gram[old, old].trace()):
            return None
        cross = gram64(self._B[old], rows)
        self._gram[old, added], self._gram[added, old], self._gram[added, added] = cross, cross.T, own
        self.size = added.stop
        return Projection(columns.T, rows, own)


def block_lanczos(
    A: Tensor, block: int, generator: torch.Generator, most: int | None = None
) -> Iterator[Projection]:
    """Projections of A (m, n) on Krylov spaces that grow by up to `block` columns a step, to `most` (m).

    Stops when nothing is left to find: the space has all directions, or the rank of A is reached.
    A step costs two products of A with `block` columns. A projection holds views of memory that later steps
    add to and do not change.
    """
    m, n = A.shape

    def sample() -> Tensor:
        start = torch.randn(n, min(block, n), generator=generator, dtype=A.dtype)
        return times_columns(A, start.to(A.device))

    Y = sample()
    shortest = ROUNDING * float(torch.linalg.vector_norm(Y, dim=0, dtype=torch.float64).max())
    most = m if most is None else min(most, m)
    basis = _Basis(A, most)
    while basis.size < most:
        Q, room = basis.now.Q, most - basis.size
        new = complement(Y, Q, shortest)[:, :room]
        if new.shape[1] == 0:
            # Equal singular values end a Krylov space early; only fresh columns show whether this is the end.
            new = complement(sample(), Q, shortest)[:, :room]
            if new.shape[1] == 0:
                return
        step = basis.grow(new)
        if step is None:
            return
        yield basis.now
        # Bringing the rows to unit length keeps the step's dynamic range at σ₁/σₖ instead of its square.
        Y = times_columns(A, orthonormalise(step.B.T, shortest * ROUNDING, gram=step.gram))
