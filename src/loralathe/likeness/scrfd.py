"""SCRFD, the detector of InsightFace, with key points (det_10g.onnx, det_2.5g.onnx, det_500m.onnx).

Guo and others 2021, "Sample and Computation Redistribution for Efficient Face Detection". It reads RGB values
(x − 127.5) / 128. Nine outputs: for strides 8, 16 and 32 the score, then the box, then the five points; at
each place (column c, row r) two faces. As InsightFace's scrfd.py decodes them, with s the stride and a = (c,
r) · s:

    left, top = a − s · (d₀, d₁),   right, bottom = a + s · (d₂, d₃),   point k = a + s · (p₂ₖ, p₂ₖ₊₁)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loralathe.likeness.candidates import STRIDES, Candidates, DetectorKind, centres, rows_of
from loralathe.likeness.onnx import Values

ANCHORS = 2


def decode(outputs: Sequence[Values], side: int) -> Candidates:
    """See this file's docstring. ValueError for outputs of other sizes."""
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


def feed(values: Values) -> Values:
    """RGB around 0."""
    return ((values - 127.5) / 128).astype(np.float32)


SCRFD = DetectorKind("SCRFD", (*[1] * 3, *[4] * 3, *[10] * 3), 0.5, 0.4, feed, decode)
