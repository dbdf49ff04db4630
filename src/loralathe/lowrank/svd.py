"""Truncated singular value decompositions: randomized, exact, and of products that are never formed.

And the comparison of two: do they act on the same directions?
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from loralathe.lowrank.rangefinder import Projection, block_lanczos, gram64

DENSE_RATIO = 3
"""A matrix whose small side is at most this many times the rank is decomposed whole, which is cheaper."""

LARGEST_BASIS = 12
"""The search stops when its basis has this many times the rank; white noise needs about 4."""

EXTRA = 32
"""Columns beyond twice the rank before the gains are used: the first few steps converge unevenly."""

SAFE_EXPONENT = 64
"""Beyond ‖A‖_F = 2^±64 a matrix is scaled by a power of two, so that no fp32 product leaves its range."""

EXHAUSTED = 1e-13
"""Share of the energy that is below the precision of fp32 products."""


class SVD(NamedTuple):
    """U (m, r) and Vh (r, n) with orthonormal columns and rows, S (r,) falling: A ≈ U · diag(S) · Vh."""

    U: Tensor
    S: Tensor
    Vh: Tensor

    def truncate(self, rank: int) -> SVD:
        """The leading `rank` triplets; all of them when there are fewer."""
        return SVD(self.U[:, :rank], self.S[:rank], self.Vh[:rank])


def energy(A: Tensor, chunk: int = 1 << 16) -> float:
    """‖A‖_F², widened and summed in float64 whatever the dtype of A; any shape."""
    flat = (A.T if A.ndim == 2 and A.T.is_contiguous() else A).reshape(-1)
    # One buffer for all chunks: fresh ones would cost more in page faults than the sum itself.
    buffer = torch.empty(min(chunk, flat.numel()), dtype=torch.float64, device=A.device)
    total = 0.0
    for part in torch.split(flat, chunk):
        wide = buffer[: part.numel()].copy_(part)
        total += float(wide @ wide)
    return total


def randomized_svd(
    A: Tensor,
    rank: int,
    *,
    seed: int = 0,
    tolerance: float = 2e-3,
    floor: float = 0.0,
    block: int | None = None,
    total: float | None = None,
) -> SVD:
    """Leading `rank` singular triplets of A (m, n), fp32 or fp64, nearly as good as the best.

    Grows a Krylov basis (see `rangefinder`) until one more step would lower the Frobenius error of the rank-r
    approximation by less than the share `tolerance`. At the default the error is within 0.2 % of the optimum
    (Eckart–Young) where singular values fall like 1/√i or faster, and within 1 % on white noise. Singular
    values up to `floor` need not be found: the search stops when all above it have settled. `total` is
    ‖A‖_F² where the caller knows it. Returns fewer triplets when A has a lower rank, none for a zero matrix.

    The starting block comes from a CPU generator seeded by `seed`, on every device, so that a result
    depends on (A, rank, options) alone.
    """
    _check(A, rank)
    m, n = A.shape
    if m > n:  # the basis lives on the shorter side
        flipped = randomized_svd(
            A.T, rank, seed=seed, tolerance=tolerance, floor=floor, block=block, total=total
        )
        return SVD(flipped.Vh.T, flipped.S, flipped.U.T)
    total = energy(A) if total is None else total
    if total == 0.0:
        return empty_svd(A)
    exponent = math.frexp(math.sqrt(total))[1]
    if abs(exponent) > SAFE_EXPONENT:
        scaled = randomized_svd(
            A * 2.0**-exponent,
            rank,
            seed=seed,
            tolerance=tolerance,
            floor=floor * 2.0**-exponent,
            block=block,
        )
        return scaled._replace(S=scaled.S * 2.0**exponent)
    if m <= max(DENSE_RATIO * rank, 64):
        whole = Projection(torch.eye(m, dtype=A.dtype, device=A.device), A, gram64(A))
        return _rayleigh_ritz(whole, rank)
    generator = torch.Generator().manual_seed(seed)
    settled = _Settled(rank, total, tolerance, floor)
    block = block or default_block(rank)
    for projection in block_lanczos(A, block, generator, most=LARGEST_BASIS * rank + block):
        if settled.after(projection):
            break
    return _rayleigh_ritz(projection, rank)


def default_block(rank: int) -> int:
    """Columns a step: half the rank, in whole vector registers.

    Narrow blocks find more per column, wide blocks multiply faster.
    """
    return min(64, max(16, -(-rank // 32) * 16))


class _Settled:
    """Watches the energy of the leading Ritz values and tells when one more step is not worth its time.

    The gains of successive steps fall at least geometrically (Saad 2011, §6.6), so the next one is at most
    the last times the ratio of the last two. With a steep spectrum nothing more is left to gain; with a
    flat one the rest is about three times as much, and takes long.
    """

    def __init__(self, rank: int, total: float, tolerance: float, floor: float) -> None:
        self.rank, self.total, self.tolerance, self.floor = rank, total, tolerance, floor
        self.captured: list[float] = []

    def after(self, projection: Projection) -> bool:
        size = projection.gram.shape[0]
        if size < self.rank:
            return False
        trusted = size >= 2 * self.rank + EXTRA
        # Vectors take longer than values alone, but those of the last step are needed anyway.
        values = projection.ritz[0] if trusted else torch.linalg.eigvalsh(projection.gram).flip(0)
        values = values[: self.rank]
        captured = float(values[values > self.floor**2].sum())
        self.captured.append(captured)
        rest = self.total - captured
        if rest <= EXHAUSTED * self.total or size >= LARGEST_BASIS * self.rank:
            return True
        if len(self.captured) < 3 or not trusted:
            return False
        before, middle, last = self.captured[-3:]
        gain = max(last - middle, 0.0)
        ratio = min(gain / (middle - before), 1.0) if middle > before else 0.0
        return gain * ratio <= 2 * self.tolerance * rest


def _rayleigh_ritz(projection: Projection, rank: int) -> SVD:
    """SVD of the projected matrix through its float64 Gram matrix; null directions are left out."""
    values, vectors = projection.ritz
    values, vectors = values[:rank], vectors[:, :rank]
    found = values > EXHAUSTED * values[0]
    S, V = values[found].sqrt(), vectors[:, found]
    dtype = projection.B.dtype
    U = projection.Q @ V.to(dtype)
    Vh = (V / S).T.to(dtype) @ projection.B
    # LAPACK and cuSOLVER choose signs as they like: the largest entry of each column of U is made positive.
    peaks = U.gather(0, U.abs().argmax(dim=0, keepdim=True))
    signs = torch.where(peaks < 0, -1.0, 1.0).to(dtype)
    return SVD(U * signs, S.to(dtype), Vh * signs.T)


def exact_svd(A: Tensor, rank: int | None = None) -> SVD:
    """Thin SVD of A (m, n) by LAPACK, cut to `rank`; a long side is reduced by QR first (Chan 1982)."""
    _check(A, 1 if rank is None else rank)
    m, n = A.shape
    if m < n:
        flipped = exact_svd(A.T, rank)
        return SVD(flipped.Vh.T, flipped.S, flipped.U.T)
    if not bool(A.any()):
        return empty_svd(A)
    if 2 * m > 3 * n:
        Q, R = torch.linalg.qr(A)
        U, S, Vh = torch.linalg.svd(R, full_matrices=False)
        U = Q @ U[:, :rank]
    else:
        U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    return SVD(U[:, :rank], S[:rank], Vh[:rank])


def factored_svd(up: Tensor, down: Tensor, rank: int | None = None) -> SVD:
    """SVD of up (m, k) · down (k, n), cut to `rank`, without the (m, n) product.

    QR of both thin factors leaves a small core whose SVD is the product's; the core is multiplied and
    decomposed in float64. Singular values that are rounding of the factors are left out: terms that cancel
    have rank 0.
    """
    left, left_core = torch.linalg.qr(up)
    right, right_core = torch.linalg.qr(down.T)
    core = left_core.double() @ right_core.double().T
    U, S, Vh = torch.linalg.svd(core, full_matrices=False)
    norms = torch.linalg.matrix_norm(left_core.double(), 2) * torch.linalg.matrix_norm(right_core.double(), 2)
    found = S[:rank] > math.sqrt(up.shape[1]) * torch.finfo(up.dtype).eps * norms
    U, S, Vh = U[:, :rank][:, found], S[:rank][found], Vh[:rank][found]
    dtype = up.dtype
    return SVD(left @ U.to(dtype), S.to(dtype), Vh.to(dtype) @ right.T)


def empty_svd(A: Tensor) -> SVD:
    """The decomposition of a zero matrix of A's shape: no triplets."""
    m, n = A.shape
    return SVD(A.new_empty(m, 0), A.new_empty(0), A.new_empty(0, n))


def split_sqrt(svd: SVD) -> tuple[Tensor, Tensor]:
    """up = U·√S (m, r) and down = √S·Vh (r, n): both factors get the same norm, so both round alike."""
    root = svd.S.sqrt()
    return svd.U * root, root[:, None] * svd.Vh


@dataclass(frozen=True, slots=True)
class Overlap:
    """Shared part of two deltas' output directions (up) and input directions (down), each in [0, 1]."""

    up: float
    down: float


def compare_directions(a: SVD, b: SVD) -> Overlap:
    """Overlap of the spans of two decompositions, whatever they came from: dense deltas or factors.

    For a delta of factors use `compress`, for a dense one `randomized_svd`; equal `truncate` ranks ask
    about the leading directions only. Singular values do not matter.
    """
    return Overlap(subspace_overlap(a.U, b.U), subspace_overlap(a.Vh.T, b.Vh.T))


def subspace_overlap(Q1: Tensor, Q2: Tensor) -> float:
    """‖Q1ᵀ·Q2‖_F² / min(r1, r2) for orthonormal columns (n, r1), (n, r2): 1 contained, 0 orthogonal.

    The mean squared cosine of the principal angles; Hu et al. 2021 (LoRA), §7.2, with r1 = r2. Two random
    subspaces score about max(r1, r2)/n. 0 when either is empty.
    """
    smaller = min(Q1.shape[1], Q2.shape[1])
    if smaller == 0:
        return 0.0
    return min(float((Q1.T.double() @ Q2.double()).square().sum()) / smaller, 1.0)


def _check(A: Tensor, rank: int) -> None:
    if A.ndim != 2 or A.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"a 2-D float32 or float64 tensor is needed, not {tuple(A.shape)} {A.dtype}")
    if rank < 1:
        raise ValueError(f"rank must be at least 1, not {rank}")
