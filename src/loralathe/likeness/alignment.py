"""A face turned upright and cut out, its eyes, nose and mouth where models of faces expect them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loralathe.likeness.detectors import Points

if TYPE_CHECKING:
    from PIL.Image import Image

TEMPLATE: Points = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Of ArcFace, in a picture of 112×112: eyes, nose, corners of the mouth; the left one in the picture
first.
"""
TEMPLATE_SIDE = 112


def template(side: int) -> Points:
    """The five points in a square of `side` pixels; models of 128 pixels have 8 more at either side."""
    if side % 128 == 0 and side % TEMPLATE_SIDE:
        wider: Points = (TEMPLATE + np.array([8.0, 0.0])) * (side / 128)
        return wider
    scaled: Points = TEMPLATE * (side / TEMPLATE_SIDE)
    return scaled


def similarity(source: Points, target: Points) -> tuple[complex, complex] | None:
    """(a, b) of target ≈ a · source + b, points (n, 2) as complex numbers, by least squares.

    a turns and scales, b moves; nothing is mirrored. It is Umeyama's solution in the plane. None where all
    source points are one.
    """
    z, w = source @ np.array([1, 1j]), target @ np.array([1, 1j])
    apart, other = z - z.mean(), w - w.mean()
    size = float(np.sum(np.abs(apart) ** 2))
    if not size > 0:
        return None
    a = complex(np.sum(np.conj(apart) * other) / size)
    return a, complex(w.mean() - a * z.mean())


def aligned(image: Image, points: Points, side: int) -> Image | None:
    """The face whose five points are given, upright in a square of `side` pixels; None where they are no
    face.

    Points count pixels by their centres, as detectors do. What lies outside the picture is black. A face
    that is more than twice as large is made smaller first, so that no detail turns into noise.
    """
    from PIL import Image as Pictures

    # Fitted towards the template, as the models' makers do it; the other way round faces come out larger.
    found = similarity(points, template(side))
    if found is None or not 1e-6 < abs(found[0]) < 1e6:
        return None
    a, b = 1 / found[0], -found[1] / found[0]
    if (factor := int(abs(a))) >= 2:
        image = image.reduce(factor)
        # A pixel of the smaller picture has its centre in the middle of factor × factor.
        middle = (factor - 1) / 2 * (1 + 1j)
        a, b = a / factor, (b - middle) / factor
    # Pillow counts from the edge of pixels, half a pixel before the centre of the first.
    b += 0.5 * (1 + 1j) - a * 0.5 * (1 + 1j)
    matrix = (a.real, -a.imag, b.real, a.imag, a.real, b.imag)
    rgb = image.convert("RGB")
    return rgb.transform((side, side), Pictures.Transform.AFFINE, matrix, Pictures.Resampling.BILINEAR)
