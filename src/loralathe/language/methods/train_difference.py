"""SuperMerger's trainDifference: the difference B − C added to A as if A had been trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loralathe.language.amounts import weighed
from loralathe.language.expressions import LinearExpression, method_expression
from loralathe.language.function import CallArguments, Function, amount, value
from loralathe.language.method import Arguments, MakeRows, Method

if TYPE_CHECKING:
    from torch import Tensor

FACTOR = 1.8
"""SuperMerger's constant: it makes up for what the scale takes away (about a half where A is near C)."""


@dataclass(frozen=True)
class TrainDifference(Method):
    """(B − C)·|B − A| / (|B − C| + |B − A|), element by element; of the deltas B − C and B − A."""

    name = "train_difference"

    def prepare(self, tensor: Arguments) -> MakeRows:
        return lambda values, rows: train_difference(values[0], values[1])


def train_difference(learned: Tensor, missing: Tensor) -> Tensor:
    """learned · |missing| / (|learned| + |missing|), 0 where both are 0.

    learned: B − C, what training changed;  missing: B − A, what A lacks of the result.
    """
    share = missing.abs()
    total = learned.abs().add_(share)
    # Where the total is 0, so is the share.
    return share.div_(total.clamp_(min=1e-45)).mul_(learned)


def build(call: CallArguments) -> LinearExpression:
    a, b, c = call.alike("A", "B", "C")
    learned = method_expression(TrainDifference(), b - c, b - a)
    return a + weighed(learned.scaled(FACTOR), call.amount("alpha"))


FUNCTIONS = (Function("train_difference", (value("A"), value("B"), value("C"), amount("alpha")), build),)
