"""One module's delta to factors: the singular value decomposition, the rank, and what was lost."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loralathe.engine.workers import on_gpu
from loralathe.language import ExtractOptions, Rule
from loralathe.lowrank import (
    SVD,
    Factors,
    choose_rank,
    compress,
    concatenate,
    exact_svd,
    factors_energy,
    nuclear_norm,
    randomized_svd,
    rank_by,
    split_sqrt,
)

START = 64
"""Singular values looked for first when a rule will tell how many are wanted."""

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
    reason:   what decided the rank: requested, rule, budget, joined, shape, noise, exhausted (there is
              no more), zero, small (under min_diff), or why nothing was asked for (`energies.OUTSIDE`).
    weights:  squared Frobenius norm of the first model's tensor, 0 where none was read.
    """

    matrices: Matrices | None
    energy: float
    kept: float
    reason: str
    noise: Noise = Noise()
    weights: float = 0.0

    @property
    def rank(self) -> int:
        return self.matrices[0].shape[1] if self.matrices else 0


@dataclass(frozen=True)
class Request:
    """What is asked of one module: at most `limit` directions, by a rule or as many; None: up to its size."""

    limit: int | None
    rule: Rule | None = None


def seed_of(module: str) -> int:
    """A module's own random seed: the same in every run, on every machine."""
    return zlib.crc32(module.encode())


def extract_dense(
    delta: Tensor,
    energy: float,
    request: Request,
    options: ExtractOptions,
    noise: Noise,
    seed: int,
    device: str,
) -> Extracted:
    """Best low-rank approximation of delta (out, columns), fp32; singular values under the floor dropped.

    Eckart–Young: truncating the SVD is optimal in the Frobenius norm; randomized unless options.exact.
    """
    if energy == 0.0:
        return Extracted(None, 0.0, 0.0, "zero", noise)
    if options.min_diff and float(delta.abs().max()) <= options.min_diff:
        return Extracted(None, energy, 0.0, "small", noise)
    floor = 0.0 if options.keep_noise else noise.sigma
    # The copy waits in the thread's queue before the products; a pinned delta is not copied twice.
    work = delta.to(device, non_blocking=on_gpu(device))

    def decompose(rank: int) -> SVD:
        if options.exact:
            return exact_svd(work, rank)
        return randomized_svd(work, rank, seed=seed, floor=floor, total=energy)

    nuclear = nuclear_norm(work) if request.rule and request.rule.kind == "quantile" else math.nan
    svd, reason = _decided(decompose, request, min(delta.shape), energy, nuclear, floor)
    return _cut(svd, energy, request.limit, floor, noise, reason)


def extract_factored(terms: Sequence[Factors], weights: Sequence[float], request: Request) -> Extracted:
    """The same for Σ weight · term of factors: QR and a small core, never the product."""
    svd = compress(terms, weights)
    values = svd.S.double()
    energy = float(values.square().sum())
    svd, reason = _decided(svd.truncate, request, len(values), energy, float(values.sum()), 0.0)
    return _cut(svd, energy, request.limit, 0.0, Noise(), reason)


def join_factored(terms: Sequence[Factors], weights: Sequence[float]) -> Extracted:
    """Σ weight · term as factors side by side: nothing is decomposed, compared or rounded.

    Both factors of a column get the same size, by a power of two, so that every digit survives.
    """
    total = concatenate(terms, weights)
    if total.rank == 0:
        return Extracted(None, 0.0, 0.0, "zero")
    ratio = torch.linalg.vector_norm(total.down, dim=1) / torch.linalg.vector_norm(total.up, dim=0)
    shift = torch.nan_to_num(ratio.log2() / 2, nan=0.0, posinf=0.0, neginf=0.0).round()
    scale = torch.exp2(shift)
    energy = factors_energy(total)
    matrices = (total.up * scale).contiguous(), (total.down / scale[:, None]).contiguous()
    return Extracted(matrices, energy, energy, "joined")


def _decided(
    decompose: Callable[[int], SVD], request: Request, full: int, energy: float, nuclear: float, floor: float
) -> tuple[SVD, str]:
    """The triplets that a request asks for, searching twice as deep until its rule can tell."""
    most = min(request.limit or full, full)
    if request.rule is None or most == 0:
        return decompose(max(most, 1)), "requested"
    depth = min(START, most)
    while True:
        svd = decompose(depth)
        if len(svd.S) == 0:
            return svd, "requested"
        rank = rank_by(request.rule.kind, request.rule.parameter, svd.S, energy, nuclear)
        if rank is not None:
            return svd.truncate(rank), "rule"
        if len(svd.S) < depth or depth == most or float(svd.S[-1]) <= floor:
            return svd, "requested" if request.limit else "rule"
        depth = min(2 * depth, most)


def measure_factored(terms: Sequence[Factors], weights: Sequence[float], reason: str) -> Extracted:
    """Energy of a delta that is not to be extracted."""
    return Extracted(None, factors_energy(concatenate(terms, weights)), 0.0, reason)


def _cut(svd: SVD, energy: float, limit: int | None, floor: float, noise: Noise, reason: str) -> Extracted:
    """Factors of what rises above the floor; `reason` is why the SVD ends where it does."""
    shape = (svd.U.shape[0], svd.Vh.shape[1])
    wanted = limit or min(shape) if reason == "requested" else max(len(svd.S), 1)
    choice = choose_rank(svd.S, wanted, floor, shape)
    if choice.reason == "requested" and limit is None:
        # Without a number asked for, the layer's size or the rule decided.
        reason = "shape" if reason == "requested" else reason
    elif choice.reason != "requested":
        # Without a floor nothing is noise: there is no more to keep.
        reason = "exhausted" if choice.reason == "noise" and floor == 0.0 else choice.reason
    if choice.rank == 0:
        return Extracted(None, energy, 0.0, reason, noise)
    cut = svd.truncate(choice.rank)
    # Never more than everything, whatever the rounding of the two sums.
    kept = min(float(cut.S.double().square().sum()), energy)
    up, down = split_sqrt(cut)
    return Extracted((up.cpu().contiguous(), down.cpu().contiguous()), energy, kept, reason, noise)


def stretched(found: Extracted, *, keep_noise: bool) -> Extracted:
    """The same with factors as long as the whole difference above the noise: ‖up·down‖² = ‖Δ‖² − noise.

    What is cut off makes a LoRA act more weakly; directions and ranks stay, and so does `kept`, which is the
    share of the difference that they explain.
    """
    if found.matrices is None or found.kept == 0.0:
        return found
    noise = 0.0 if keep_noise else found.noise.energy
    gain = math.sqrt(max(found.energy - noise, found.kept) / found.kept)
    # Half of it on each side, so that both still round alike.
    up, down = (matrix * math.sqrt(gain) for matrix in found.matrices)
    return replace(found, matrices=(up, down))


def rounded(matrices: Matrices, dtype: torch.dtype) -> Matrices:
    """Factors as a saved file would give them back."""
    return matrices[0].to(dtype).float(), matrices[1].to(dtype).float()
