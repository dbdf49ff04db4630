"""A merge method that exists only in a test: halfway(A, B, share), with a rule by the sign of B."""

from __future__ import annotations

from dataclasses import dataclass

from loralathe.language.expressions import LinearExpression, method_expression
from loralathe.language.function import CallArguments, Function, number, value
from loralathe.language.method import Arguments, MakeRows, Method


@dataclass(frozen=True)
class Halfway(Method):
    """A where B is negative, A + share/max|A|·(B − A) elsewhere; reads the whole tensor for max|A| first."""

    share: float

    name = "halfway"
    passes = 1

    def prepare(self, tensor: Arguments) -> MakeRows:
        largest = max(float(values[0].abs().max()) for values in tensor.bands())
        return lambda values, rows: (
            values[0] + (values[1] >= 0) * self.share / largest * (values[1] - values[0])
        )


def halfway(call: CallArguments) -> LinearExpression:
    a, b = call.alike("A", "B")
    return method_expression(Halfway(call.between("share", 0.0, 1.0)), a, b, is_weights=a.is_weights)


FUNCTIONS = (Function("halfway", (value("A"), value("B"), number("share", 0.5)), halfway),)
