"""Spherical linear interpolation: Shoemake 1985, "Animating rotation with quaternion curves", §3.3."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loralathe.language.expressions import LinearExpression, method_expression
from loralathe.language.function import CallArguments, Function, amount, value
from loralathe.language.method import Arguments, MakeRows, Method, Values, amount_at
from loralathe.strengths import Strength

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_SINE = 1e-6
"""Below it the arc is a chord to the last digit of fp32 (or, at π, has no direction): a straight line."""


@dataclass(frozen=True)
class Slerp(Method):
    """Between two tensors along the arc of their directions; the length goes linearly from |A| to |B|."""

    t: Strength

    name = "slerp"
    passes = 1

    @property
    def amounts(self) -> tuple[Strength, ...]:
        return (self.t,)

    def prepare(self, tensor: Arguments) -> MakeRows:
        of_a, of_b = slerp_coefficients(amount_at(self.t, tensor.address), *inner_products(tensor))

        def make(values: Values, rows: range) -> Tensor:
            return (values[0] * of_a).add_(values[1], alpha=of_b)

        return make


def inner_products(tensor: Arguments) -> tuple[float, float, float]:
    """⟨A, A⟩, ⟨B, B⟩ and ⟨A, B⟩ over the whole tensor, summed in fp64."""
    squares_a, squares_b, products = [], [], []
    for a, b in tensor.bands():
        x, y = a.double().reshape(-1), b.double().reshape(-1)
        squares_a.append(float(x.dot(x)))
        squares_b.append(float(y.dot(y)))
        products.append(float(x.dot(y)))
    return math.fsum(squares_a), math.fsum(squares_b), math.fsum(products)


def slerp_coefficients(t: float, aa: float, bb: float, ab: float) -> tuple[float, float]:
    """(c, d) with slerp(A, B; t) = c·A + d·B.

    With θ the angle between them and n = (1 − t)|A| + t|B|:
    c = n·sin((1 − t)θ) / (|A| sin θ), d = n·sin(tθ) / (|B| sin θ).
    """
    if t in (0.0, 1.0) or aa == 0.0 or bb == 0.0:
        return 1.0 - t, t
    norm_a, norm_b = math.sqrt(aa), math.sqrt(bb)
    theta = math.acos(max(-1.0, min(1.0, ab / norm_a / norm_b)))
    if math.sin(theta) < SMALLEST_SINE:
        return 1.0 - t, t
    length = ((1.0 - t) * norm_a + t * norm_b) / math.sin(theta)
    return length * math.sin((1.0 - t) * theta) / norm_a, length * math.sin(t * theta) / norm_b


def slerp(call: CallArguments) -> LinearExpression:
    a, b = call.alike("A", "B")
    t = call.amount("t")
    if t.plain in (0.0, 1.0):
        return a if t.plain == 0.0 else b
    return method_expression(Slerp(t.strength), a, b, is_weights=a.is_weights)


FUNCTIONS = (Function("slerp", (value("A"), value("B"), amount("t")), slerp),)
