"""How sure the mean of a few measurements is: Student's t, means with their intervals, paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan, cos, pi, sin, sqrt
from statistics import fmean, stdev


def student_cdf(t: float, freedom: int) -> float:
    """P(T ≤ t) of Student's t for a whole number of degrees of freedom.

    Finite trigonometric series: Abramowitz and Stegun 26.7.3 (odd) and 26.7.4 (even).
    """
    theta = atan(t / sqrt(freedom))
    odd = freedom % 2 == 1
    term = cos(theta) if odd else 1.0
    total = 0.0
    for k in range(freedom // 2):
        total += term
        term *= cos(theta) ** 2 * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
    area = 2 / pi * (theta + sin(theta) * total) if odd else sin(theta) * total
    return 0.5 + area / 2


def student_quantile(probability: float, freedom: int) -> float:
    """The t with P(T ≤ t) = probability, for 0.5 ≤ probability < 1, by bisection."""
    low, high = 0.0, 1.0
    while student_cdf(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


LEAST = 3
"""Values that an interval takes: of two it is nine times the distance between them to each side, and tells
nothing but that two are too few.
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean of n measurements with its 95 % t-interval; `low` and `high` are None for fewer than `LEAST`."""

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


def estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """mean ± t·s/√n with n − 1 degrees of freedom. It assumes normal values: a guide when n is small."""
    mean = fmean(values)
    if len(values) < LEAST:
        return Estimate(mean, None, None, tuple(values))
    half = student_quantile(0.5 + confidence / 2, len(values) - 1) * stdev(values) / sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, tuple(values))
