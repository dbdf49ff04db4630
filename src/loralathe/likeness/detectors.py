"""Faces in a picture: an ONNX detector is run, and what it answers is decoded here.

A picture is fitted into the square that the detector reads, the rest is black. Faces that fill the picture
are missed by detectors that learnt from faces with something around them: where none is found, the picture
is tried again at half the size in the middle of the square.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from loralathe.errors import InputError
from loralathe.likeness.onnx import OnnxSession, Values, open_onnx, picture_side, run_onnx

if TYPE_CHECKING:
    from PIL.Image import Image

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


MOST_GROWTH = 10.0
"""exp(10) strides are more than any picture: a damaged model must not overflow."""


def decode_yunet(outputs: Sequence[Values], side: int) -> Candidates:
    """YuNet's answer (face_detection_yunet_2023mar.onnx of OpenCV's model zoo). ValueError for outputs of
    other sizes.

    Wu and others 2023, "YuNet: A Tiny Millisecond-level Face Detector". It reads BGR values 0 to 255. Twelve
    outputs: for strides 8, 16 and 32 the class score, then the objectness, then the box, then the five
    points, of one face for each place (column c, row r). As OpenCV's FaceDetectorYN decodes them, with s the
    stride:

        score = √(class · objectness), both clamped to 0..1
        centre = (c + b₀, r + b₁) · s,   size = (exp b₂, exp b₃) · s,   point k = (c + p₂ₖ, r + p₂ₖ₊₁) · s
    """
    boxes, points, scores = [], [], []
    for level, stride in enumerate(STRIDES):
        at = centres(side, stride)
        n = len(at)
        cls, obj, box, five = (
            rows_of(outputs[level + 3 * part], n, width) for part, width in enumerate((1, 1, 4, 10))
        )
        middle = (at + box[:, :2]) * stride
        half = np.exp(np.minimum(box[:, 2:], MOST_GROWTH)) * stride / 2
        boxes.append(np.concatenate([middle - half, middle + half], axis=1))
        points.append((five.reshape(n, 5, 2) + at[:, None]) * stride)
        scores.append(np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))[:, 0])
    return Candidates(np.concatenate(boxes), np.concatenate(points), np.concatenate(scores))


def feed_yunet(values: Values) -> Values:
    """BGR, as it is."""
    return values[..., ::-1]


YUNET = DetectorKind("YuNet", (*[1] * 6, *[4] * 3, *[10] * 3), 0.7, 0.3, feed_yunet, decode_yunet)


ANCHORS = 2


def decode_scrfd(outputs: Sequence[Values], side: int) -> Candidates:
    """The answer of SCRFD with key points, InsightFace's detector (det_10g.onnx, det_2.5g.onnx,
    det_500m.onnx). ValueError for outputs of other sizes.

    Guo and others 2021, "Sample and Computation Redistribution for Efficient Face Detection". It reads RGB
    values (x − 127.5) / 128. Nine outputs: for strides 8, 16 and 32 the score, then the box, then the five
    points; at each place (column c, row r) two faces. As InsightFace's scrfd.py decodes them, with s the
    stride and a = (c, r) · s:

        left, top = a − s · (d₀, d₁),   right, bottom = a + s · (d₂, d₃),   point k = a + s · (p₂ₖ, p₂ₖ₊₁)
    """
    boxes, points, scores = [], [], []
    for level, stride in enumerate(STRIDES):
        at = np.repeat(centres(side, stride), ANCHORS, axis=0) * stride
        n = len(at)
        score, box, five = (
            rows_of(outputs[level + 3 * part], n, width) for part, width in enumerate((1, 4, 10))
        )
        boxes.append(np.concatenate([at - box[:, :2] * stride, at + box[:, 2:] * stride], axis=1))
        points.append(at[:, None] + five.reshape(n, 5, 2) * stride)
        scores.append(score[:, 0])
    return Candidates(np.concatenate(boxes), np.concatenate(points), np.concatenate(scores))


def feed_scrfd(values: Values) -> Values:
    """RGB around 0."""
    return ((values - 127.5) / 128).astype(np.float32)


SCRFD = DetectorKind("SCRFD", (*[1] * 3, *[4] * 3, *[10] * 3), 0.5, 0.4, feed_scrfd, decode_scrfd)


WANTED_DETECTOR = (
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
        return open_onnx(self.model, WANTED_DETECTOR)

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
        return InputError(
            "this is no detector of faces that is known", where=str(self.model), fix=WANTED_DETECTOR
        )


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
