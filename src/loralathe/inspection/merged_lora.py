"""Whether two checkpoints differ by a LoRA: only in its layers, and by matrices of low rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from loralathe.lowrank import Rounding, randomized_svd, rounding_noise_sigma

LOOKED_AT = 6
"""Layers whose difference is decomposed; a fine-tune shows in any of them."""
LOW = 4
"""A rank is low up to a quarter of the layer's smaller side."""
LEFT_OVER = 0.01
"""Share of a difference that may lie beyond the low rank, besides rounding."""


def merged_rank(
    names: Sequence[str],
    dtypes: Callable[[str], Sequence[Rounding]],
    read: Callable[[str], tuple[Tensor, Tensor]],
) -> int | None:
    """The largest rank among some of the differing layers; None where one of them has no low rank.

    read: both weights of a layer as (rows, columns), fp32.
    """
    step = max(1, len(names) // LOOKED_AT)
    ranks = [_low_rank(*read(name), dtypes(name)) for name in names[::step][:LOOKED_AT]]
    found = [rank for rank in ranks if rank is not None]
    return max(found) if found and len(found) == len(ranks) else None


def _low_rank(one: Tensor, other: Tensor, dtypes: Sequence[Rounding]) -> int | None:
    delta = one - other
    rows, columns = delta.shape
    most = min(rows, columns) // LOW
    rms = float(one.square().mean().sqrt())
    floor = rounding_noise_sigma(rms, (rows, columns), dtypes)
    energy = float(delta.double().square().sum())
    noise = (floor / (math.sqrt(rows) + math.sqrt(columns))) ** 2 * rows * columns
    if most < 1:
        return None
    values = randomized_svd(delta, most, floor=floor, total=energy).S.double()
    left = energy - float(values.square().sum())
    # Both files were rounded: twice the noise, and as much again for its fluctuation.
    return int((values > floor).sum()) if left <= LEFT_OVER * energy + 4 * noise else None
