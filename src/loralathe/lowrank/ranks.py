"""How many singular values a module keeps, and why.

A person asks for a rank, which noise and the shape may lower (`choose_rank`), or for a rule that gives each
module a rank from its own singular values (`rank_by`): those of LyCORIS and kohya, by their names.

    threshold  t   singular values above t                           LyCORIS `threshold`
    ratio      r   singular values above r · the largest             LyCORIS `ratio`, kohya `sv_ratio` = 1/r
    quantile   q   the fewest whose sum reaches q of the whole sum   LyCORIS `quantile`, kohya `sv_cumulative`
    fro        p   the fewest whose √Σs² reaches p·‖Δ‖_F             kohya `sv_fro`

Every rule keeps at least one. (LyCORIS' quantile stops one short of the fraction, and resize_lora of
sd-scripts before v0.11 kept one more than each rule needs; here the fewest that reach it are kept.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from loralathe.errors import InputError
from loralathe.lowrank.rangefinder import gram64

RuleKind = Literal["threshold", "ratio", "quantile", "fro"]
Reason = Literal["requested", "noise", "shape", "zero"]

ARITHMETIC_ROUNDING = 2.0**-22
"""Singular values at most this share of the first are rounding of fp32 arithmetic, for any files."""

NOISE_EDGE = 1.03
"""Noise reaches this far over its asymptotic edge: the largest singular value of a finite random matrix
scatters by 1 % (Tracy–Widom, 320 × 320, 99th percentile), and ε by 2 % with the scale of the weights."""


@dataclass(frozen=True, slots=True)
class RankChoice:
    """The rank a module gets, and what decided it.

    requested: the rank that was asked for. shape: the module's smaller side. noise: the number of singular
    values above rounding. zero: the difference is zero, and so is the rank.
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
    above = int((singular_values > max(NOISE_EDGE * floor, ARITHMETIC_ROUNDING * largest)).sum())
    if above < allowed:
        return RankChoice(above, "noise")
    return RankChoice(allowed, "requested" if allowed == requested else "shape")


def rank_by(
    kind: RuleKind, parameter: float, singular_values: Tensor, energy: float, nuclear: float = math.nan
) -> int | None:
    """Rank that a rule gives a delta with these leading singular values, (k,) in falling order, k ≥ 1.

    energy: ‖Δ‖_F²;  nuclear: Σ of all singular values (`nuclear_norm`), for `quantile` only. None when all k
    values satisfy the rule and further ones may, too: then more singular values are needed.
    """
    if kind in ("threshold", "ratio"):
        cut = parameter if kind == "threshold" else parameter * float(singular_values[0])
        above = int((singular_values.double() > cut).sum())
        return max(above, 1) if above < len(singular_values) else None
    wide = singular_values.double()
    sums = (wide if kind == "quantile" else wide.square()).cumsum(0)
    wanted = parameter * nuclear if kind == "quantile" else parameter**2 * energy
    reached = int((sums < wanted).sum())
    return reached + 1 if reached < len(sums) else None


def nuclear_norm(A: Tensor) -> float:
    """Σ of all singular values of A (m, n), from the eigenvalues of the smaller float64 Gram matrix.

    Singular values under 1e-8 of the largest are lost in it; even thousands of them do not change the sum.
    """
    short = A if A.shape[0] <= A.shape[1] else A.T
    return float(torch.linalg.eigvalsh(gram64(short)).clamp_min(0).sqrt().sum())
