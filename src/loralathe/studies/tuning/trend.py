"""Where a number rises along the axes: a straight line through all candidates, by least squares.

On many axes a goal rises or falls from one end to the other: more of a LoRA is more likeness and more bleed.
So of many candidates that look the same, the line says which one lies ahead, and which step to take from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loralathe.studies.tuning.space import Point

RIDGE = 0.1
"""Keeps the line flat along an axis of which the candidates tell nothing."""


@dataclass(frozen=True)
class Trend:
    """slopes: (axes,), from one end of an axis to the other; 0 where values have no order."""

    slopes: NDArray[np.float64]
    lengths: NDArray[np.float64]

    @classmethod
    def through(cls, values: Mapping[Point, float], lengths: Sequence[int], ordered: Sequence[bool]) -> Trend:
        """The line through these candidates.

        values: a number of each.  lengths: how many values each axis has.  ordered: whether they rise.
        """
        ends = np.maximum(np.asarray(lengths, dtype=np.float64) - 1, 1)
        known = {point: value for point, value in values.items() if point and np.isfinite(value)}
        if len(known) < 2:
            return cls(np.zeros(len(lengths)), ends)
        places = np.array(list(known), dtype=np.float64) / ends * np.asarray(ordered, dtype=np.float64)
        numbers = np.array(list(known.values()))
        places, numbers = places - places.mean(0), numbers - numbers.mean()
        slopes = np.linalg.solve(places.T @ places + RIDGE * np.eye(len(ends)), places.T @ numbers)
        return cls(slopes * np.asarray(ordered, dtype=np.float64), ends)

    def at(self, point: Point) -> float:
        """How high the line is there, beside its height at the first value of every axis."""
        return float(self.slopes @ (np.asarray(point, dtype=np.float64) / self.lengths))
