"""The effect of an adapter on each block, measured on its weights alone: no picture is rendered.

The deltas stay factors; the base's weights are read a piece at a time, so memory stays bounded. Of a kind
whose change depends on the weights (DoRA, OFT …) the layer is read, and its change made as a whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.errors import InputError
from loralathe.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from loralathe.adapters import Adapter, AdapterModule
    from loralathe.families import Module
    from loralathe.inspection import Comparison
    from loralathe.tensorfiles import TensorFile

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ModuleWeight:
    """One module at effective strength 1. delta, base: ‖Δ‖² and ‖W‖² (Frobenius) of the layer it changes.

    spread: effective rank exp(H(p)), p = σ/Σσ (Roy & Vetterli 2007);  rank90, rank99: how many leading
    singular values hold 90 % and 99 % of ‖Δ‖².  All 0 for a delta of zero.
    """

    block: str
    delta: float
    base: float
    rank: int
    spread: float
    rank90: int
    rank99: int


@dataclass(frozen=True, slots=True)
class BlockWeight:
    """A block, or everything. Ranks are means over the modules, `rank` is the largest stored one.

    ratio: ‖Δ‖/‖W‖ over the layers that the adapter changes, None where these weights are all zero;
    share: part of the adapter's whole ‖Δ‖².
    cosine, up, down: against the second adapter, as `lathe compare` has them; None without one.
    """

    block: str
    modules: int
    delta_norm: float
    base_norm: float
    ratio: float | None
    share: float
    rank: int
    spread: float
    rank90: float
    rank99: float
    cosine: float | None = None
    up: float | None = None
    down: float | None = None


@dataclass(frozen=True)
class WeightStudy:
    """Blocks in the order of the model, their total, and the modules that have no place in the base."""

    checkpoint: Path
    adapter: Path
    other: Path | None
    family: str
    blocks: tuple[BlockWeight, ...]
    total: BlockWeight
    unmatched: tuple[str, ...]


def study_weights(
    checkpoint: PathLike,
    adapter: PathLike,
    other: PathLike | None = None,
    *,
    allow_unmatched: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
) -> WeightStudy:
    """Energy, ranks and overlap of an adapter per block, beside the base that it changes.

    Raises InputError for files that are not a checkpoint and adapters, families that differ, modules
    without a place in the base (unless allowed), and weights that hold NaN or Inf.
    """
    from loralathe.adapters import check_against, open_adapter, require_fit
    from loralathe.engine import in_parallel
    from loralathe.families import detect_checkpoint, in_original_layout
    from loralathe.tensorfiles import open_tensorfile

    progress = progress or Progress()
    with open_tensorfile(checkpoint) as file:
        base = in_original_layout(file)
        family = detect_checkpoint(base.header, str(checkpoint)).family
        places = family.modules(base.header.tensors) | family.biases(base.header.tensors)
        with open_adapter(adapter, family, with_weights=True) as opened:
            fit = check_against(opened, places, base.header.tensors)
            require_fit(opened, fit, family.label, allow_unmatched=allow_unmatched)

            def measure(module: AdapterModule) -> ModuleWeight:
                return _measure(opened, module, base, places[module.name])

            with progress.task("reading weights", len(fit.used), "modules") as task:
                found = in_parallel(fit.used, measure, lambda _: 1, task, threads)
    compared = _compared(adapter, other, progress, threads)
    blocks, total = _by_block(found, family.id, compared)
    return WeightStudy(
        Path(checkpoint),
        Path(adapter),
        Path(other) if other else None,
        family.id,
        blocks,
        total,
        fit.unmatched,
    )


def _compared(
    adapter: PathLike, other: PathLike | None, progress: Progress, threads: int | None
) -> Comparison | None:
    from loralathe.inspection import compare_files

    return None if other is None else compare_files(adapter, other, progress=progress, threads=threads)


def _measure(adapter: Adapter, module: AdapterModule, base: TensorFile, place: Module) -> ModuleWeight:
    from loralathe.families import label_of_module

    squares = _squares(adapter, module, base, place)
    energy, weight = float(squares.sum()), _weight_energy(base, place)
    for value, file, key in ((energy, adapter.file, module.raw_name), (weight, base, place.key)):
        if not math.isfinite(value):
            raise InputError("a tensor holds NaN or Inf", where=f"{file.path}: {key}")
    return ModuleWeight(
        block=label_of_module(adapter.family, module.name),
        delta=energy,
        base=weight,
        rank=module.rank,
        spread=effective_rank(squares.sqrt()),
        rank90=rank_holding(squares, 0.90),
        rank99=rank_holding(squares, 0.99),
    )


def _squares(adapter: Adapter, module: AdapterModule, base: TensorFile, place: Module) -> Tensor:
    """The squared singular values of what the adapter changes, falling, float64."""
    from loralathe.adapters import load_factors
    from loralathe.lowrank import compress

    if not module.needs_weight:
        return compress([load_factors(adapter, module)], [1.0]).S.double().square()
    import torch

    change = _change(adapter, module, base, place).flatten(1)
    if not bool(change.isfinite().all()):
        return torch.full((1,), math.nan, dtype=torch.float64)
    singular: Tensor = torch.linalg.svdvals(change)
    return singular.double().square()


def _change(adapter: Adapter, module: AdapterModule, base: TensorFile, place: Module) -> Tensor:
    """Of the layer's own weight or bias, a column for a vector; fp32."""
    from loralathe.adapters import WholeWeight, load_change

    value = base.read(place.key).float()
    if place.part is not None:
        value = value.chunk(place.part[1])[place.part[0]]
    value = value.T.contiguous() if place.transpose else value
    if len(module.shape) == len(value.shape) > 1 and 0 < module.shape[1] < value.shape[1]:
        value = value[:, : module.shape[1]]  # the input channels that both have
    weight = WholeWeight(value)
    return load_change(adapter, module, weight)(weight.rows(0, len(value)), range(len(value)))


def _weight_energy(file: TensorFile, place: Module) -> float:
    """‖W‖² of a module's weight, of its rows where several modules share one tensor."""
    from loralathe.inspection import CHUNK, read_flat, squares

    info = file.header.tensors[place.key]
    index, parts = place.part or (0, 1)
    size = info.numel // parts
    begin, end = index * size, (index + 1) * size
    return math.fsum(
        squares(read_flat(file, info, start, min(start + CHUNK, end))) for start in range(begin, end, CHUNK)
    )


def effective_rank(singular: Tensor) -> float:
    """exp(H(p)) with p = σ/Σσ, (r,) ≥ 0: r for equal values, 1 for a single one, 0 for none."""
    total = float(singular.sum())
    if total == 0.0:
        return 0.0
    p = singular[singular > 0] / total
    return math.exp(-float((p * p.log()).sum()))


def rank_holding(squares: Tensor, share: float) -> int:
    """How many leading values of `squares` (r,), falling, add up to `share` of their sum; 0 for none."""
    total = float(squares.sum())
    if total == 0.0:
        return 0
    kept = squares.cumsum(0) / total
    return min(int((kept < share - 1e-12).sum()) + 1, len(squares))


def _by_block(
    found: Sequence[ModuleWeight], family: str, compared: Comparison | None
) -> tuple[tuple[BlockWeight, ...], BlockWeight]:
    from loralathe.families import family_by_id, in_model_order

    everything = math.fsum(one.delta for one in found)
    grouped: dict[str, list[ModuleWeight]] = {}
    for one in found:
        grouped.setdefault(one.block, []).append(one)
    order = in_model_order(grouped, family_by_id(family))
    blocks = tuple(_block(label, grouped[label], everything, compared) for label in order)
    return blocks, _block("total", found, everything, compared)


def _block(
    label: str, group: Sequence[ModuleWeight], everything: float, compared: Comparison | None
) -> BlockWeight:
    delta, base = (math.fsum(getattr(one, side) for one in group) for side in ("delta", "base"))
    beside = {block.block: block for block in compared.blocks} if compared else {}
    same = compared.total if compared and label == "total" else beside.get(label)
    return BlockWeight(
        block=label,
        modules=len(group),
        delta_norm=math.sqrt(delta),
        base_norm=math.sqrt(base),
        ratio=math.sqrt(delta / base) if base > 0 else None,
        share=delta / everything if everything > 0 else 0.0,
        rank=max(one.rank for one in group),
        spread=math.fsum(one.spread for one in group) / len(group),
        rank90=math.fsum(one.rank90 for one in group) / len(group),
        rank99=math.fsum(one.rank99 for one in group) / len(group),
        cosine=same.cosine if same else None,
        up=same.up if same else None,
        down=same.down if same else None,
    )
