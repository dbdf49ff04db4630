"""One LoRA projected off the principal directions of another.

Chen, Zhou, Zhang, Huang 2025, "NP-LoRA: Null Space Projection Unifies Subject and Style in LoRA Fusion"
(arXiv 2511.11051). With the singular value decomposition y = U·S·Vᵀ, cut to the leading k directions,

    x' = x·(I − c·V·Vᵀ),   c = μ / (1 + μ),

which minimises ‖x' − x‖² + μ·‖x'·V‖². At μ = 0 it is x, and as μ grows x' acts on no input direction that y
acts on. The same for outputs is x' = (I − c·U·Uᵀ)·x. All of it is computed on thin factors: with x = B·A it
is B·(A − c·(A·V)·Vᵀ), so a layer costs r·k numbers more than the LoRAs themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loralathe.language.expressions import (
    AdapterLeaf,
    ExtractLeaf,
    Leaf,
    LinearExpression,
    MethodLeaf,
    describe,
    method_expression,
)
from loralathe.language.function import CallArguments, Function, number, text, value
from loralathe.language.method import FactorMethod, Pair

SIDES = ("in", "out", "both")


@dataclass(frozen=True)
class Project(FactorMethod):
    """share: c, 1 is the hard projection.  rank: leading directions of y, 0 is all.  side: of the layer."""

    share: float
    rank: int
    side: str

    name = "project"

    def most(self, ranks: Sequence[int]) -> int:
        return ranks[0]

    def of_factors(self, arguments: Sequence[Pair | None], *, turned: bool) -> Pair | None:
        from loralathe.lowrank import factored_svd

        x, y = arguments
        if x is None or y is None:
            return x
        found = factored_svd(*y, self.rank or None)
        up, down = x
        columns, rows = ("out", "in") if turned else ("in", "out")
        if self.side in (columns, "both"):
            down = down - self.share * (down @ found.Vh.T) @ found.Vh
        if self.side in (rows, "both"):
            up = up - self.share * found.U @ (found.U.T @ up)
        return up, down


def project(call: CallArguments) -> LinearExpression:
    (x,), (y,) = of_loras(call, "x"), of_loras(call, "y")
    mu = call.number("mu")
    if math.isnan(mu) or mu < 0:
        raise call.error(f"mu must be at least 0, not {mu:g}", "leave it out for the whole projection")
    side = call.text("side") or "in"
    if side not in SIDES:
        raise call.error(f"there is no side '{side}'", "sides of a layer are 'in', 'out' and 'both'")
    share = 1.0 if math.isinf(mu) else mu / (1.0 + mu)
    return method_expression(Project(share, call.whole("rank"), side), x, y)


def of_loras(call: CallArguments, name: str) -> list[LinearExpression]:
    """Values that are sums of LoRAs; InputError for one that is a whole tensor."""
    found = call.expressions(name)
    for expression in found:
        if not (expression.is_delta and all(_is_thin(term.leaf) for term in expression.terms)):
            raise call.error(
                f"{call.function.name}() works on the factors of LoRAs; this is {describe(expression)}",
                "make a LoRA of a difference: extract(B - A, rank=64)",
            )
    return found


def _is_thin(leaf: Leaf) -> bool:
    if isinstance(leaf, MethodLeaf):
        return isinstance(leaf.method, FactorMethod)
    return isinstance(leaf, ExtractLeaf) or (isinstance(leaf, AdapterLeaf) and leaf.weights is None)


FUNCTIONS = (
    Function(
        "project",
        (value("x"), value("y"), number("mu", math.inf), number("rank", 0.0), text("side", optional=True)),
        project,
    ),
)
