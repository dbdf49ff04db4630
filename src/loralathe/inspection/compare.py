"""Two files side by side: what differs, where, how much. Streaming, in bounded memory.

Checkpoints (or any two files with tensors of equal names) are compared weight by weight; with a base,
what is compared are their differences from it. Adapters are compared by the deltas that they make.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.adapters import shows_adapter
from loralathe.errors import InputError, option
from loralathe.families import in_model_order
from loralathe.progress import Progress
from loralathe.tensorfiles import open_tensorfile

if TYPE_CHECKING:
    from loralathe.engine import Remark
    from loralathe.inspection.pairs import Pair, Pairs

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class BlockComparison:
    """A block, or everything. Quantities without meaning (a norm of zero) are None.

    cosine:     of the angle between x and y as one long vector;
    ratio:      ‖y‖ / ‖x‖;   difference: ‖x − y‖ / ‖x‖;
    up, down:   mean over the modules of the shared part of their directions, weighted by ‖x‖·‖y‖.
    """

    block: str
    items: int
    equal: int
    x_norm: float
    y_norm: float
    cosine: float | None
    ratio: float | None
    difference: float | None
    up: float | None
    down: float | None


@dataclass(frozen=True)
class Comparison:
    """The whole comparison.

    of:      'weights', 'deltas' (of adapters) or 'differences' (from the base).
    only_x, only_y: names that the other file lacks;  reshaped: names of unequal shape, not compared.
    recast:  how many of the compared tensors are stored in another dtype.
    skipped: tensors that are not floats (and are equal or not, see `unequal_integers`).
    rank:    directions compared, None = all that an adapter has, or none were.
    verdict: what it means, in a sentence.
    """

    x: Path
    y: Path
    base: Path | None
    of: str
    family: str | None
    only_x: tuple[str, ...]
    only_y: tuple[str, ...]
    reshaped: tuple[str, ...]
    recast: int
    unequal_integers: tuple[str, ...]
    rank: int | None
    blocks: tuple[BlockComparison, ...]
    total: BlockComparison
    verdict: Remark

    @property
    def identical(self) -> bool:
        """Nothing differs but perhaps dtypes and metadata."""
        differing = (self.only_x, self.only_y, self.reshaped, self.unequal_integers)
        return not any(differing) and self.total.equal == self.total.items


def compare_files(
    x: PathLike,
    y: PathLike,
    base: PathLike | None = None,
    *,
    rank: int | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Comparison:
    """Compare two checkpoints, two adapters, or what two checkpoints changed in `base`.

    Raises InputError for a checkpoint beside an adapter, families that differ, a rank below 1, a base
    beside adapters, and kinds of adapter that are not read.
    """
    if rank is not None and rank < 1:
        raise InputError(
            f"rank {rank} is too small", fix=f"{option('rank', 8)} compares the 8 leading directions"
        )
    progress = progress or Progress()
    # A path may carry tensors in memory, which a new one made of it would lose.
    x, y = (given if isinstance(given, Path) else Path(given) for given in (x, y))
    base = base if base is None or isinstance(base, Path) else Path(base)
    kinds = [_is_adapter(path) for path in (x, y)]
    if kinds[0] != kinds[1]:
        adapter, other = (x, y) if kinds[0] else (y, x)
        raise InputError(
            "an adapter and a checkpoint cannot be compared",
            where=f"{adapter} is an adapter, {other} is not",
            fix="merge the adapter first, or extract one from the checkpoint: lathe extract TUNED BASE",
        )
    if kinds[0] and base is not None:
        raise InputError(
            f"{option('base')} belongs to checkpoints; adapters are differences already",
            fix=f"leave {option('base')} out",
        )
    from loralathe.inspection.pairs import pair_adapters, pair_checkpoints
    from loralathe.inspection.verdict import verdict

    if kinds[0]:
        pairs = pair_adapters(x, y, rank, progress, threads)
    else:
        pairs = pair_checkpoints(x, y, base, rank, progress, threads)
    blocks, total = _by_block(pairs)
    of = "deltas" if kinds[0] else "differences" if base else "weights"
    return Comparison(
        x=x,
        y=y,
        base=base,
        of=of,
        family=pairs.family.id if pairs.family else None,
        only_x=pairs.only_x,
        only_y=pairs.only_y,
        reshaped=pairs.reshaped,
        recast=pairs.recast,
        unequal_integers=pairs.unequal_integers,
        rank=pairs.rank,
        blocks=blocks,
        total=total,
        verdict=verdict(pairs, of),
    )


def _is_adapter(path: PathLike) -> bool:
    with open_tensorfile(path) as file:
        return shows_adapter(file.header.tensors)


def _by_block(pairs: Pairs) -> tuple[tuple[BlockComparison, ...], BlockComparison]:
    """Blocks in the order of the model, and the total."""
    grouped: dict[str, list[Pair]] = {}
    for item in pairs.items:
        grouped.setdefault(item.block, []).append(item)
    blocks = tuple(_block(label, grouped[label]) for label in in_model_order(grouped, pairs.family))
    return blocks, _block("total", [item for group in grouped.values() for item in group])


def _block(label: str, items: Sequence[Pair]) -> BlockComparison:
    xx, yy, xy, dd = (math.fsum(getattr(item, field) for item in items) for field in ("xx", "yy", "xy", "dd"))
    scale = math.sqrt(xx) * math.sqrt(yy)
    equal = sum(item.equal for item in items)
    same = equal == len(items) and xx > 0
    return BlockComparison(
        block=label,
        items=len(items),
        equal=equal,
        x_norm=math.sqrt(xx),
        y_norm=math.sqrt(yy),
        cosine=1.0 if same else max(-1.0, min(1.0, xy / scale)) if scale > 0 else None,
        ratio=math.sqrt(yy / xx) if xx > 0 else None,
        difference=math.sqrt(max(dd, 0.0) / xx) if xx > 0 else None,
        up=_weighted(items, "up"),
        down=_weighted(items, "down"),
    )


def _weighted(items: Sequence[Pair], side: str) -> float | None:
    pairs = [(getattr(item, side), math.sqrt(item.xx * item.yy)) for item in items]
    known = [(value, weight) for value, weight in pairs if value is not None]
    total = math.fsum(weight for _, weight in known)
    return math.fsum(value * weight for value, weight in known) / total if total > 0 else None
