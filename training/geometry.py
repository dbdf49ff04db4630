"""Outlines as lists of points, in pixels of the final picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]

WIDTH = 128


def mirrored(points: Sequence[Point]) -> list[Point]:
    """Left and right exchanged."""
    return [(WIDTH - x, y) for x, y in points]


def ellipse(x: float, y: float, rx: float, ry: float, steps: int = 28) -> list[Point]:
    """A closed ellipse around (x, y)."""
    turn = 2 * math.pi / steps
    return [(x + rx * math.cos(i * turn), y + ry * math.sin(i * turn)) for i in range(steps)]


def star(x: float, y: float, outer: float, inner: float) -> list[Point]:
    """A five-pointed star, one tip up."""
    return [
        (
            x + (inner if i % 2 else outer) * math.sin(i * math.pi / 5),
            y - (inner if i % 2 else outer) * math.cos(i * math.pi / 5),
        )
        for i in range(10)
    ]


def smooth(points: Sequence[Point], *, closed: bool = True, steps: int = 6) -> list[Point]:
    """A Catmull-Rom curve through the points."""
    n = len(points)
    spans = n if closed else n - 1
    curve: list[Point] = []
    for i in range(spans):
        near = (i - 1, i, i + 1, i + 2)
        a, b, c, d = (points[j % n] if closed else points[min(max(j, 0), n - 1)] for j in near)
        curve += [_catmull_rom(a, b, c, d, step / steps) for step in range(steps)]
    return curve if closed else [*curve, points[-1]]


def strand(spine: Sequence[Point], widths: Sequence[float]) -> list[Point]:
    """A lock of hair: the outline of a band along `spine`, with a half-width at every point."""
    left: list[Point] = []
    right: list[Point] = []
    for i, ((x, y), width) in enumerate(zip(spine, widths, strict=True)):
        (x0, y0), (x1, y1) = spine[max(i - 1, 0)], spine[min(i + 1, len(spine) - 1)]
        length = math.hypot(x1 - x0, y1 - y0)
        nx, ny = (y0 - y1) / length, (x1 - x0) / length
        left.append((x + nx * width, y + ny * width))
        right.append((x - nx * width, y - ny * width))
    return smooth([*left, *reversed(right)])


def _catmull_rom(a: Point, b: Point, c: Point, d: Point, t: float) -> Point:
    def along(p: float, q: float, r: float, s: float) -> float:
        return 0.5 * (
            2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t**2 + (3 * q - p - 3 * r + s) * t**3
        )

    return along(a[0], b[0], c[0], d[0]), along(a[1], b[1], c[1], d[1])
