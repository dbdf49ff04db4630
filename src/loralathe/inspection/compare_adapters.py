"""Two adapters: cosine of their deltas and overlap of their directions, all in factor space."""

from __future__ import annotations

import math
from pathlib import Path

from loralathe.adapters import Adapter, load_factors, open_adapter
from loralathe.engine.workers import in_parallel
from loralathe.errors import InputError
from loralathe.families import label_of_module
from loralathe.inspection.compare import Compared, Comparison, by_block
from loralathe.lowrank import Factors, compare_directions, compress, factors_energy, inner
from loralathe.progress import Progress


def compare_adapters(
    x: Path, y: Path, rank: int | None, progress: Progress, threads: int | None
) -> Comparison:
    """Modules of both by their canonical names; `rank`: leading directions to compare, None = all."""
    with open_adapter(x) as one, open_adapter(y, one.family) as other:
        _check_families(one, other)
        shared = [name for name in one.modules if name in other.modules]
        fitting = [name for name in shared if one.modules[name].shape == other.modules[name].shape]

        def compare(name: str) -> Compared:
            first = load_factors(one, one.modules[name])
            second = load_factors(other, other.modules[name])
            return _compare(name, label_of_module(one.family, name), first, second, rank)

        with progress.task("comparing", len(fitting), "modules") as task:
            found = in_parallel(fitting, compare, lambda _: 1, task, threads)
        blocks, total = by_block(found, one.family)
        fits = set(fitting)
        return Comparison(
            x=x,
            y=y,
            base=None,
            of="deltas",
            family=one.family.id,
            only_x=(*(name for name in one.modules if name not in other.modules), *one.unmatched),
            only_y=(*(name for name in other.modules if name not in one.modules), *other.unmatched),
            reshaped=tuple(name for name in shared if name not in fits),
            recast=sum(_dtype(one, name) != _dtype(other, name) for name in fitting),
            unequal_integers=(),
            rank=rank,
            blocks=blocks,
            total=total,
        )


def _compare(name: str, block: str, x: Factors, y: Factors, rank: int | None) -> Compared:
    xx, yy, xy = factors_energy(x), factors_energy(y), inner(x, y)
    up = down = None
    if xx > 0 and yy > 0:
        overlap = compare_directions(compress([x], [1.0], rank), compress([y], [1.0], rank))
        up, down = overlap.up, overlap.down
    equal = x.up.equal(y.up) and x.down.equal(y.down)
    # In float64, so that what two nearly equal deltas do not share survives the subtraction.
    dd = 0.0 if equal else max(xx + yy - 2.0 * xy, 0.0)
    return Compared(name, block, math.prod(x.shape), xx, yy, xy, dd, equal, up, down)


def _dtype(adapter: Adapter, name: str) -> str:
    return next(iter(adapter.modules[name].tensors.values())).dtype


def _check_families(one: Adapter, other: Adapter) -> None:
    if not other.modules or not one.modules:
        empty = other if not other.modules else one
        raise InputError(
            "the adapters are for different families",
            where=f"{empty.file.path} has no module of {one.family.label}",
            fix="compare adapters made for the same base model",
        )
