"""Differences of a model's layers, cut to a low rank in many ways, and written as LoRAs of equal bytes.

Every function takes and gives a difference Δ of a layer as (out, in) float64. What the cuts minimise:

    plain       ‖Δ − M‖_F                        Eckart–Young
    weighted    ‖B^½ (Δ − M) A^½‖_F              A (in, in), B (out, out) positive;
                                                 M = B^−½ [B^½ Δ A^½]_r A^−½
    shares      as plain, but ranks differ: a knapsack of bytes (`loralathe.lowrank.allocate_bytes`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from loralathe.adapters import AdapterFormat, kohya_tensors, load_factors, open_adapter
from loralathe.families import AdapterNotes, adapter_metadata
from loralathe.lowrank import Factors, KnapsackItem, allocate_bytes, dense, exact_svd, split_sqrt
from loralathe.tensorfiles import AdapterWriter, tensor_bytes

Pairs = dict[str, tuple[Tensor, Tensor]]
"""Module → up (out, r), down (r, in)."""
MODULE_BYTES = 3 * 100
"""Of names and offsets in the header, for the three tensors of a module, about."""


@dataclass(frozen=True)
class Deltas:
    """What a LoRA changes: module → Δ (out, in), and module → block."""

    of: Mapping[str, Tensor]
    blocks: Mapping[str, str]


def read_deltas(path: Path) -> Deltas:
    """All of a LoRA of linear layers."""
    with open_adapter(str(path), with_weights=True) as adapter:
        found = {
            name: dense(load_factors(adapter, module)).reshape(module.shape[0], -1).double()
            for name, module in adapter.modules.items()
        }
        return Deltas(found, {name: str(module.block) for name, module in adapter.modules.items()})


def write_pairs(path: Path, pairs: Pairs, like: Path) -> None:
    """A LoRA in fp16, of the family of `like`; modules of rank 0 are left out."""
    with open_adapter(str(like)) as adapter:
        family, prediction = adapter.family, "v_prediction"
    held = {name: pair for name, pair in pairs.items() if pair[0].shape[1]}
    ranks = {pair[0].shape[1] for pair in held.values()}
    alpha = float(max(ranks))
    how = AdapterFormat(family, alpha)
    notes = AdapterNotes(max(ranks) if len(ranks) == 1 else None, alpha, None, prediction, path.stem)
    metadata = {"format": "pt", **adapter_metadata(family.words, notes)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with AdapterWriter(path, metadata, force=True) as writer:
        for name, (up, down) in held.items():
            shape = (up.shape[0], down.shape[1])
            factors = Factors(up.float().contiguous(), down.float().contiguous(), shape)
            for one in kohya_tensors(name, factors, shape, how):
                writer.add(one.name, one.dtype, tuple(one.tensor.shape), tensor_bytes(one.tensor))
        writer.commit()


def plain(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The nearest in the Frobenius norm; fewer directions where Δ, read from a file, has no more."""
    svd = exact_svd(delta, rank)
    return split_sqrt(svd.truncate(int((1e-6 * delta.norm() < svd.S).sum())))


def norm_kept(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The nearest, made as long as Δ."""
    return stretched(plain(delta, rank), delta)


def stretched(pair: tuple[Tensor, Tensor], delta: Tensor) -> tuple[Tensor, Tensor]:
    """The same product made as long as Δ."""
    up, down = pair
    return up * (delta.norm() / (up @ down).norm()), down


def weighted(
    delta: Tensor, rank: int, inputs: Tensor | None = None, outputs: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The nearest in ‖B^½ · A^½‖_F, with A = `inputs` and B = `outputs`; None: the identity."""
    left, left_back = _roots(outputs, delta.shape[0])
    right, right_back = _roots(inputs, delta.shape[1])
    up, down = split_sqrt(exact_svd(left @ delta @ right, rank))
    return left_back @ up, down @ right_back


def mixed(covariance: Tensor, share: float) -> Tensor:
    """(1 − share) · S + share · I, S scaled to the trace of I: `share` of 1 is plain."""
    size = len(covariance)
    scaled = covariance * (size / covariance.trace().clamp_min(1e-30))
    return (1 - share) * scaled + share * torch.eye(size, dtype=covariance.dtype)


def _roots(matrix: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """M^½ and M^−½ of a positive matrix."""
    if matrix is None:
        unit = torch.eye(size, dtype=torch.float64)
        return unit, unit
    values, vectors = torch.linalg.eigh(matrix)
    root = values.clamp_min(1e-12 * float(values[-1])).sqrt()
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


Worth = Callable[[str, Tensor, Tensor, Tensor], Tensor]
"""(module, U (out, k), S (k,), Vh (k, in)) → what each direction is worth, (k,), 0 and more."""


def shares(deltas: Deltas, rank: int, worth: Worth) -> Pairs:
    """The directions that are worth most in the bytes that plain takes at this rank.

    A module's directions are taken in the order of their worth, so their worth per byte falls.
    """
    items, cuts = [], {}
    for name, delta in deltas.of.items():
        svd = exact_svd(delta)
        value = worth(name, svd.U, svd.S, svd.Vh).double().clamp_min(0)
        order = value.argsort(descending=True, stable=True)
        cuts[name] = (svd.U[:, order], svd.S[order], svd.Vh[order])
        items.append(KnapsackItem(value[order], 2 * sum(delta.shape), MODULE_BYTES))
    limit = sum(MODULE_BYTES + rank * item.cost for item in items)
    ranks = allocate_bytes(items, limit).ranks
    found = {}
    for (name, (u, s, vh)), kept in zip(cuts.items(), ranks, strict=True):
        root = s[:kept].sqrt()
        found[name] = (u[:, :kept] * root, root[:, None] * vh[:kept])
    return found
