"""How a delta is cut to low rank, as data: a rank, a rule for each module, or one budget for all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from loralathe.errors import InputError

if TYPE_CHECKING:
    from loralathe.lowrank import RuleKind

DEFAULT_RANK = 64
RULES = ("threshold", "ratio", "quantile", "fro")


@dataclass(frozen=True, slots=True)
class Rule:
    """Each module keeps what its own singular values justify; see lowrank/ranks.py for the kinds.

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
                f"energy={self.amount:g} is not a share of the difference",
                fix="give a number above 0 and up to 1, such as 0.95",
            )

    def __str__(self) -> str:
        if self.kind == "energy":
            return f"{100 * self.amount:.12g} % of the energy"
        return f"{self.amount:,.0f} bytes"


@dataclass(frozen=True)
class ExtractOptions:
    """How a delta is cut to low rank; see docs/semantics.md §6.

    rank, conv_rank: of a layer and of a k×k convolution; the most they may get where a rule or a budget
              chooses; None: no limit but their size.
    conv:     resnets and samplers are in scope without a number of their own.
    rule, conv_rule: how each module chooses its rank;  budget: what all modules share.
    joined:   factors of adapters side by side, nothing decomposed;  everything: whatever modules they hold.
    min_diff: a module in which no number differs by more is left out.
    keep_norm: factors are stretched to the length of the whole difference of their module.
    te1, te2, te3: True keeps an encoder whatever its evidence, False drops it, None decides by the noise
              floor. (te3 is T5.)
    round_to: safetensors dtype to which the factors are rounded before later steps use them, or None.
    """

    rank: int | None = DEFAULT_RANK
    conv_rank: int | None = None
    conv: bool = False
    rule: Rule | None = None
    conv_rule: Rule | None = None
    budget: Budget | None = None
    joined: bool = False
    everything: bool = False
    min_diff: float = 0.0
    exact: bool = False
    pad_ranks: bool = False
    keep_noise: bool = False
    keep_norm: bool = False
    te1: bool | None = None
    te2: bool | None = None
    te3: bool | None = None
    round_to: str | None = None

    @property
    def with_conv(self) -> bool:
        """Whether resnets and samplers are in scope."""
        return self.conv or self.conv_rank is not None or self.conv_rule is not None

    def encoder(self, component: str) -> bool | None:
        """What was asked for a text encoder; None for other components."""
        return {"te1": self.te1, "te2": self.te2, "te3": self.te3}.get(component)

    @property
    def is_fixed(self) -> bool:
        """Whether every module gets the rank asked for, as far as it can."""
        return self.rank is not None and not (self.rule or self.conv_rule or self.budget or self.joined)

    def cap(self, kernel: bool) -> int | None:
        """The rank asked for, or the most allowed: as kohya, `conv_rank` for k×k kernels and no others."""
        return self.conv_rank if kernel and self.conv_rank is not None else self.rank

    def rule_for(self, kernel: bool) -> Rule | None:
        return self.conv_rule if kernel and self.conv_rule is not None else self.rule
