"""Yadav, Tam, Choshen, Raffel, Bansal 2023, "TIES-Merging: Resolving Interference When Merging Models"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loralathe.language.expressions import LinearExpression, describe, method_expression
from loralathe.language.function import CallArguments, Function, number, values
from loralathe.language.method import Arguments, MakeRows, Method, Values

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ties(Method):
    """Trim every delta to its largest part, elect a sign per element, average those that agree (§4)."""

    density: float

    name = "ties"
    passes = 2
    scratch = 12

    def prepare(self, tensor: Arguments) -> MakeRows:
        thresholds = trim_thresholds(tensor, self.density)
        return lambda values, rows: ties_merge(values, thresholds)


def trim_thresholds(tensor: Arguments, density: float) -> list[float]:
    """For every argument the smallest magnitude that belongs to its largest `density` (a fraction)."""
    if density >= 1.0:
        return [0.0 for _ in next(iter(tensor.bands()))]
    from loralathe.language.order_statistics import kth_largest_magnitudes

    count = len(next(iter(tensor.bands())))
    numel = 1
    for size in tensor.shape:
        numel *= size
    kept = max(1, round(density * numel))
    return [found[0] for found in kth_largest_magnitudes(tensor.bands, [[kept]] * count)]


def ties_merge(deltas: Values, thresholds: Sequence[float]) -> Tensor:
    """Trim, elect the sign of the trimmed sum, average the non-zero ones that have it (§4, steps 1–3).

    Elements as large as the threshold stay, so equal magnitudes are kept or dropped together.
    """
    trimmed = [
        delta * (delta.abs() >= threshold) if threshold > 0.0 else delta
        for delta, threshold in zip(deltas, thresholds, strict=True)
    ]
    if len(trimmed) == 1:
        return trimmed[0].clone()
    elected = sum(trimmed[1:], trimmed[0]).sign_()
    total, voters = elected.new_zeros(elected.shape), elected.new_zeros(elected.shape)
    for delta in trimmed:
        agrees = delta * elected > 0.0
        total += delta * agrees
        voters += agrees
    return total.div_(voters.clamp_(min=1.0))


def ties(call: CallArguments) -> LinearExpression:
    """`ties(base, x, …)` gives weights, `ties(delta, …)` a delta; models stand for what they change."""
    first, *others = call.expressions("x")
    density = call.between("density", 0.0, 1.0, open_low=True)
    scale = call.number("scale")
    if first.is_delta and not all(expression.is_delta for expression in others):
        raise call.error(
            "ties() has models to merge but no base: the first value is a delta",
            "put the base model first: ties(base, x1, x2), or subtract it: ties(x1 - base, x2 - base)",
        )
    deltas = (
        [first, *others]
        if first.is_delta
        else [_task_vector(call, expression, first) for expression in others]
    )
    if not deltas:
        raise call.error("ties() has nothing to merge into its base", f"write {call.function}")
    merged = method_expression(Ties(density), *deltas).scaled(scale)
    return merged if first.is_delta else first + merged


def _task_vector(
    call: CallArguments, expression: LinearExpression, base: LinearExpression
) -> LinearExpression:
    if expression.is_delta:
        return expression
    if expression.is_weights and base.is_weights:
        return expression - base
    raise call.error(
        f"ties() takes models and deltas; this is {describe(expression if base.is_weights else base)}"
    )


FUNCTIONS = (Function("ties", (values("x"), number("density", 0.2), number("scale", 1.0)), ties),)
