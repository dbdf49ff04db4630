"""Merge functions of the language: their names and parameters; what they compute is the engine's to know.

docs/merge-methods.md has a section for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["value", "values", "amount", "number", "text"]
"""value: weights or a delta;  values: one or more of them;  amount: a number or a block list."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function; without a default it must be given, unless it is an optional text."""

    name: str
    kind: Kind = "value"
    default: float | None = None
    optional: bool = False

    def __str__(self) -> str:
        if self.kind == "values":
            return f"{self.name}1, {self.name}2, …"
        if self.default is not None:
            return f"{self.name}={self.default:g}"
        return f"{self.name}=…" if self.optional else self.name


@dataclass(frozen=True, slots=True)
class Signature:
    """A function and its parameters, in the order in which they may be given without names."""

    name: str
    parameters: tuple[Parameter, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.parameters))})"

    def parameter_at(self, index: int) -> Parameter | None:
        """The parameter that the index-th unnamed argument goes to; None when there are too many."""
        first = self.parameters[0]
        if first.kind == "values":
            return first
        return self.parameters[index] if index < len(self.parameters) else None

    def named(self, name: str) -> Parameter | None:
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


_A, _B, _C = Parameter("A"), Parameter("B"), Parameter("C")
_ALPHA, _BETA = Parameter("alpha", "amount"), Parameter("beta", "amount")
_ELEMENTS = Parameter("elements", "text", optional=True)
_DELTA, _SEED = Parameter("delta"), Parameter("seed", "number", 0.0)
_RANGE = (Parameter("low", "number", 0.0), Parameter("high", "number", 1.0))

_ALL = (
    Signature("weighted_sum", (_A, _B, _ALPHA, _ELEMENTS)),
    Signature("add_difference", (_A, _B, _C, _ALPHA, _ELEMENTS)),
    Signature("triple_sum", (_A, _B, _C, _ALPHA, _BETA)),
    Signature("sum_twice", (_A, _B, _C, _ALPHA, _BETA)),
    Signature("train_difference", (_A, _B, _C, _ALPHA)),
    Signature("smooth_add", (_A, _B, _C, _ALPHA)),
    Signature("cosine_a", (_A, _B, _ALPHA, *_RANGE)),
    Signature("cosine_b", (_A, _B, _ALPHA, *_RANGE)),
    Signature("adjust", (Parameter("x"), Parameter("settings", "text"))),
    Signature("slerp", (_A, _B, Parameter("t", "amount"))),
    Signature(
        "ties",
        (Parameter("x", "values"), Parameter("density", "number", 0.2), Parameter("scale", "number", 1.0)),
    ),
    Signature("dare", (_DELTA, Parameter("p", "number"), _SEED)),
    Signature("della", (_DELTA, Parameter("p", "number"), Parameter("epsilon", "number", 0.2), _SEED)),
    Signature("dora", (_A, Parameter("lora"))),
    Signature("breadcrumbs", (_DELTA, Parameter("top", "number", 0.01), Parameter("bottom", "number", 0.85))),
)
SIGNATURES: Mapping[str, Signature] = {signature.name: signature for signature in _ALL}
