"""Faces in a picture: an ONNX detector is run, and what it answers is decoded here.

A picture is fitted into the square that the detector reads, the rest is black. Faces that fill the picture
are missed by detectors that learnt from faces with something around them: where none is found, the picture
is tried again at half the size in the middle of the square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from loralathe.errors import InputError
from loralathe.likeness.candidates import STRIDES, Candidates, DetectorKind, Points
from loralathe.likeness.onnx import OnnxSession, Values, open_onnx, picture_side, run_onnx
from loralathe.likeness.scrfd import SCRFD
from loralathe.likeness.yunet import YUNET

if TYPE_CHECKING:
    from PIL.Image import Image

WANTED = (
    "give a detector with five points for each face: YuNet (face_detection_yunet_2023mar.onnx) or "
    "SCRFD (det_10g.onnx)"
)
USUAL_SIDE = 640
MOST_CANDIDATES = 1000


@dataclass(frozen=True)
class Placed:
    """Where a picture lies in the square: x in the square = x in the picture · scale + left."""

    values: Values
    scale: float
    left: float
    top: float


@dataclass(frozen=True)
class Detector:
    """A detector file; which kind it is, its outputs tell."""

    model: Path

    @cached_property
    def session(self) -> OnnxSession:
        return open_onnx(self.model, WANTED)

    def faces(self, image: Image) -> Candidates:
        """In pixels of the picture, the largest first; none may be found."""
        side, channels_first = picture_side(self.session, str(self.model), USUAL_SIDE)
        if not channels_first or side % STRIDES[-1]:
            raise self._unknown()
        for share in (1.0, 0.5):
            found = self._look(place(image, side, share), side)
            if len(found.scores):
                break
        area = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
        return found.at(np.argsort(-area, kind="stable"))

    def _look(self, placed: Placed, side: int) -> Candidates:
        shapes = [output.shape[-1] if output.shape else None for output in self.session.get_outputs()]
        kind = self._kind(shapes)
        fed = kind.feed(placed.values).transpose(2, 0, 1)[None].astype(np.float32)
        outputs = run_onnx(self.session, fed, str(self.model))
        try:
            found = kind.decode(outputs, side)
        except ValueError as error:
            raise self._unknown() from error
        usable = (
            (found.scores >= kind.least)
            & np.isfinite(found.boxes).all(axis=1)
            & np.isfinite(found.points).all(axis=(1, 2))
            & (found.boxes[:, 2:] > found.boxes[:, :2]).all(axis=1)
        )
        kept = found.at(np.flatnonzero(usable))
        kept = kept.at(without_overlaps(kept.boxes, kept.scores, kind.overlap))
        offset = np.array([placed.left, placed.top])
        return Candidates(
            (kept.boxes - np.tile(offset, 2)) / placed.scale,
            (kept.points - offset) / placed.scale,
            kept.scores,
        )

    def _kind(self, shapes: Sequence[int | str | None]) -> DetectorKind:
        # A model of open shapes says nothing of its last axes; then the number of outputs tells.
        for kind in (YUNET, SCRFD):
            known = sorted(shape for shape in shapes if isinstance(shape, int))
            if len(shapes) == len(kind.outputs) and (not known or tuple(known) == kind.outputs):
                return kind
        raise self._unknown()

    def _unknown(self) -> InputError:
        return InputError("this is no detector of faces that is known", where=str(self.model), fix=WANTED)


def place(image: Image, side: int, share: float) -> Placed:
    """The picture in a black square of `side` pixels, its long edge `share` of that; in the corner if
    whole.
    """
    from PIL import Image as Pictures

    scale = side * share / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    square = Pictures.new("RGB", (side, side))
    left, top = (0, 0) if share == 1 else ((side - size[0]) // 2, (side - size[1]) // 2)
    square.paste(image.convert("RGB").resize(size, Pictures.Resampling.BILINEAR), (left, top))
    return Placed(np.asarray(square, dtype=np.float32), scale, left, top)


def without_overlaps(boxes: Points, scores: Points, most: float) -> NDArray[np.intp]:
    """Rows of boxes that no better one overlaps by more than `most` of their union, best first."""
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        corner = np.maximum(boxes[order, :2], boxes[best, :2])
        other = np.minimum(boxes[order, 2:], boxes[best, 2:])
        both = np.prod(np.clip(other - corner, 0, None), axis=1)
        order = order[both <= most * (area[order] + area[best] - both)]
    return np.array(kept, dtype=np.intp)
