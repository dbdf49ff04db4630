"""How an extraction chooses ranks, as data: a rule in each module, or one budget over the whole file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from loralathe.errors import InputError

if TYPE_CHECKING:
    from loralathe.lowrank import RuleKind

RULES = ("threshold", "ratio", "quantile", "fro")


@dataclass(frozen=True, slots=True)
class Rule:
    """Each module keeps what its own singular values justify; see lowrank/policies.py for the kinds.

    Raises InputError for a parameter that the rule cannot use.
    """

    kind: RuleKind
    parameter: float

    def __post_init__(self) -> None:
        share = self.kind != "threshold"
        if not (self.parameter >= 0 and math.isfinite(self.parameter)) or (share and self.parameter > 1):
            raise InputError(
                f"{self.kind}={self.parameter:g} is out of range",
                fix=f"{self.kind} lies between 0 and 1" if share else "a threshold is a number from 0 up",
            )


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget for all modules: a share of the energy to be kept, or bytes that the file may have."""

    kind: Literal["energy", "size"]
    amount: float

    def __post_init__(self) -> None:
        if self.kind == "energy" and not 0 < self.amount <= 1:
            raise InputError(
                f"energy={self.amount:g} is no share of the difference",
                fix="give a number above 0 and up to 1, such as 0.95",
            )

    def __str__(self) -> str:
        if self.kind == "energy":
            return f"{100 * self.amount:.12g} % of the energy"
        return f"{self.amount:,.0f} bytes"
