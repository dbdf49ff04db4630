"""One module's delta to factors: the singular value decomposition, the rank, and what was lost."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loralathe.engine.device import on_gpu
from loralathe.engine.forms import ExtractOptions
from loralathe.lowrank import (
    SVD,
    Factors,
    choose_rank,
    compress,
    concatenate,
    exact_svd,
    factors_energy,
    randomized_svd,
    split_sqrt,
)

Matrices = tuple[Tensor, Tensor]
"""(up (out, r), down (r, columns)) in fp32, every scale inside."""


@dataclass(frozen=True)
class Noise:
    """What rounding of the inputs alone would look like in a delta (docs/semantics.md §6).

    sigma: its largest singular value;  energy: its squared Frobenius norm.
    """

    sigma: float = 0.0
    energy: float = 0.0


@dataclass(frozen=True)
class Extracted:
    """What an extraction made of one slice.

    matrices: factors with delta ≈ up·down; None where nothing is to be written.
    energy, kept: squared Frobenius norms of the delta and of the factors.
    reason:   what decided the rank: requested, shape, noise, zero, outside, left out.
    """

    matrices: Matrices | None
    energy: float
    kept: float
    reason: str
    noise: Noise = Noise()

    @property
    def rank(self) -> int:
        return self.matrices[0].shape[1] if self.matrices else 0


def seed_of(module: str) -> int:
    """A module's own random seed: the same in every run, on every machine."""
    return zlib.crc32(module.encode())


def extract_dense(
    delta: Tensor, energy: float, rank: int, options: ExtractOptions, noise: Noise, seed: int, device: str
) -> Extracted:
    """Best low-rank approximation of delta (out, columns), fp32; singular values under the floor dropped.

    Eckart–Young: truncating the SVD is optimal in the Frobenius norm; randomized unless options.exact.
    """
    if energy == 0.0:
        return Extracted(None, 0.0, 0.0, "zero", noise)
    floor = 0.0 if options.keep_noise else noise.sigma
    wanted = min(rank, *delta.shape)
    # The copy waits in the thread's queue before the products; a pinned delta is not copied twice.
    work = delta.to(device, non_blocking=on_gpu(device))
    svd = (
        exact_svd(work, wanted)
        if options.exact
        else randomized_svd(work, wanted, seed=seed, floor=floor, total=energy)
    )
    return _cut(svd, energy, rank, floor, noise)


def extract_factored(terms: Sequence[Factors], weights: Sequence[float], rank: int) -> Extracted:
    """The same for Σ weight · term of factors: QR and a small core, never the product."""
    svd = compress(terms, weights)
    energy = float(svd.S.double().square().sum())
    return _cut(svd, energy, rank, 0.0, Noise())


def measure_factored(terms: Sequence[Factors], weights: Sequence[float], reason: str) -> Extracted:
    """Energy of a delta that is not to be extracted."""
    return Extracted(None, factors_energy(concatenate(terms, weights)), 0.0, reason)


def _cut(svd: SVD, energy: float, rank: int, floor: float, noise: Noise) -> Extracted:
    shape = (svd.U.shape[0], svd.Vh.shape[1])
    choice = choose_rank(svd.S, rank, floor, shape)
    if choice.rank == 0:
        return Extracted(None, energy, 0.0, choice.reason, noise)
    cut = svd.truncate(choice.rank)
    # Never more than everything, whatever the rounding of the two sums.
    kept = min(float(cut.S.double().square().sum()), energy)
    up, down = split_sqrt(cut)
    return Extracted((up.cpu().contiguous(), down.cpu().contiguous()), energy, kept, choice.reason, noise)


def rounded(matrices: Matrices, dtype: torch.dtype) -> Matrices:
    """Factors as a saved file would give them back."""
    return matrices[0].to(dtype).float(), matrices[1].to(dtype).float()
