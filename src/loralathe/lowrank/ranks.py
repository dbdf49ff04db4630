"""How many singular values a module keeps, why, and what that leaves out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from loralathe.errors import InputError

Reason = Literal["requested", "noise", "shape", "zero"]

ARITHMETIC = 2.0**-22
"""Singular values this much below the first are the rounding of fp32 arithmetic, whatever the files hold."""

EDGE = 1.03
"""Noise reaches this far over its asymptotic edge: the largest singular value of a finite random matrix
scatters by 1 % (Tracy–Widom, 320 × 320, 99th percentile), and ε by 2 % with the scale of the weights."""


@dataclass(frozen=True, slots=True)
class RankChoice:
    """The rank a module gets, and what decided it.

    requested: what was asked for. shape: the module's smaller side. noise: so many singular values rise above
    rounding. zero: there is no difference at all, and the rank is 0.
    """

    rank: int
    reason: Reason


def choose_rank(
    singular_values: Tensor, requested: int, floor: float = 0.0, shape: tuple[int, int] | None = None
) -> RankChoice:
    """Rank for a delta of (out, in) = `shape` with these leading singular values, (k,) in falling order.

    `floor` is the rounding noise of the inputs (`rounding_noise_sigma`); 0 keeps noise, down to the rounding
    of the arithmetic itself. Values less than 3 % above it count as noise. A noise rank of 0 means that the
    whole delta is rounding.

    Raises InputError when `requested` is below 1.
    """
    if requested < 1:
        raise InputError(f"rank {requested} is too small", fix="use a rank of at least 1, such as rank=64")
    largest = float(singular_values[0]) if len(singular_values) else 0.0
    if largest == 0.0:
        return RankChoice(0, "zero")
    allowed = min(requested, *shape) if shape else requested
    above = int((singular_values > max(EDGE * floor, ARITHMETIC * largest)).sum())
    if above < allowed:
        return RankChoice(above, "noise")
    return RankChoice(allowed, "requested" if allowed == requested else "shape")


def kept_energy(singular_values: Tensor, total: float) -> float:
    """Σ S² / ‖Δ‖²: the share of the difference that is kept, 1 for a zero difference; no tail is needed.

    `total` = ‖Δ‖_F² in float64 (`energy`). Rounding can lift the share over 1; it is cut there.
    """
    if total == 0.0:
        return 1.0
    return min(float(singular_values.double().square().sum()) / total, 1.0)


def relative_error(singular_values: Tensor, total: float) -> float:
    """‖Δ − UΣVᵀ‖_F / ‖Δ‖_F = √(1 − kept energy); below 1e-3 it is fp32 rounding more than truncation."""
    return math.sqrt(1.0 - kept_energy(singular_values, total))
