"""What a detector of faces answers, and how kinds of detectors are told apart, fed and read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from loralathe.likeness.onnx import Values

STRIDES = (8, 16, 32)
"""Pixels between the places at which both kinds of detector look for a face of three sizes."""
Points: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a detector answers, in pixels of the square: boxes (n, 4) as left, top, right, bottom, points
    (n, 5, 2) as eyes, nose, corners of the mouth, of each the left one in the picture first, scores (n,)."""

    boxes: Points
    points: Points
    scores: Points

    def at(self, rows: NDArray[np.intp]) -> Candidates:
        return Candidates(self.boxes[rows], self.points[rows], self.scores[rows])


Decode: TypeAlias = Callable[[Sequence[Values], int], Candidates]
"""(the outputs of the model, pixels of the square) → faces of any score."""


@dataclass(frozen=True)
class DetectorKind:
    """How a kind of detector is fed and read.

    outputs: numbers of its outputs' last axes, sorted, by which it is known.
    least:   score from which on something is a face.  overlap: of two faces, above which they are one.
    feed:    RGB values 0 to 255 (side, side, 3) → what the model reads, (side, side, 3).
    """

    name: str
    outputs: tuple[int, ...]
    least: float
    overlap: float
    feed: Callable[[Values], Values]
    decode: Decode


def centres(side: int, stride: int) -> Points:
    """(n, 2): the columns and rows of a stride's places, row by row."""
    count = side // stride
    rows, columns = np.mgrid[:count, :count]
    return np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float64)


def rows_of(output: Values, count: int, width: int) -> Points:
    """An output as (count, width); ValueError when it is of another size."""
    if output.size != count * width:
        raise ValueError(f"{output.shape} is not ({count}, {width})")
    return output.reshape(count, width).astype(np.float64)
