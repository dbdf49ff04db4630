"""Rules that give each module a rank of its own from its own singular values: LyCORIS' and kohya's, by name.

    threshold  t   singular values above t                           LyCORIS `threshold`
    ratio      r   singular values above r · the largest             LyCORIS `ratio`, kohya `sv_ratio` = 1/r
    quantile   q   the fewest whose sum reaches q of the whole sum   LyCORIS `quantile`, kohya `sv_cumulative`
    fro        p   the fewest whose √Σs² reaches p·‖Δ‖_F             kohya `sv_fro`

Every rule keeps at least one. (LyCORIS' quantile stops one short of the fraction, and resize_lora of
sd-scripts before v0.11 kept one more than each rule needs; here the fewest that reach it are kept.)
"""

from __future__ import annotations

import math
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from loralathe.lowrank.rangefinder import gram64

RuleKind = Literal["threshold", "ratio", "quantile", "fro"]
RULE_KINDS = cast(tuple[str, ...], get_args(RuleKind))


def rank_by(
    kind: RuleKind, parameter: float, singular_values: Tensor, energy: float, nuclear: float = math.nan
) -> int | None:
    """Rank that a rule gives a delta with these leading singular values, (k,) in falling order, k ≥ 1.

    energy: ‖Δ‖_F²;  nuclear: Σ of all singular values (`nuclear_norm`), for `quantile` only. None when all k
    values satisfy the rule and those behind them may, too: then more must be found before it can be told.
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

    Singular values under 1e-8 of the largest are lost in it; even thousands of them weigh nothing in the sum.
    """
    short = A if A.shape[0] <= A.shape[1] else A.T
    return float(torch.linalg.eigvalsh(gram64(short)).clamp_min(0).sqrt().sum())
