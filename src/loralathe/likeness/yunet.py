"""YuNet, the detector of OpenCV's model zoo (face_detection_yunet_2023mar.onnx).

Wu and others 2023, "YuNet: A Tiny Millisecond-level Face Detector". It reads BGR values 0 to 255. Twelve
outputs: for strides 8, 16 and 32 the class score, then the objectness, then the box, then the five points,
of one face for each place (column c, row r). As OpenCV's FaceDetectorYN decodes them, with s the stride:

    score = √(class · objectness), both clamped to 0..1
    centre = (c + b₀, r + b₁) · s,   size = (exp b₂, exp b₃) · s,   point k = (c + p₂ₖ, r + p₂ₖ₊₁) · s
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loralathe.likeness.candidates import STRIDES, Candidates, DetectorKind, centres, rows_of
from loralathe.likeness.onnx import Values

MOST_GROWTH = 10.0
"""exp(10) strides are more than any picture: a damaged model must not overflow."""


def decode(outputs: Sequence[Values], side: int) -> Candidates:
    """See this file's docstring. ValueError for outputs of other sizes."""
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


def feed(values: Values) -> Values:
    """BGR, as it is."""
    return values[..., ::-1]


YUNET = DetectorKind("YuNet", (*[1] * 6, *[4] * 3, *[10] * 3), 0.7, 0.3, feed, decode)
