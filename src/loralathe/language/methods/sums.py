"""Sums by name: A1111's and SuperMerger's. They are plain terms of the expression and need no method."""

from __future__ import annotations

import math

from loralathe.language.amounts import Amount, weighed
from loralathe.language.expressions import LinearExpression
from loralathe.language.function import CallArguments, Function, amount, text, value


def weighted_sum(call: CallArguments) -> LinearExpression:
    """(1 − α)·A + α·B"""
    a, b = call.alike("A", "B")
    return _between(a, b, call.amount_with_elements("alpha"))


def add_difference(call: CallArguments) -> LinearExpression:
    """A + α·(B − C)"""
    a = call.expression("A")
    b, c = call.alike("B", "C")
    return a + weighed(b - c, call.amount_with_elements("alpha"))


def triple_sum(call: CallArguments) -> LinearExpression:
    """(1 − α − β)·A + α·B + β·C"""
    a, b, c = call.alike("A", "B", "C")
    alpha, beta = call.amount("alpha"), call.amount("beta")
    if alpha.plain is not None and beta.plain is not None:
        rest = math.fsum((1.0, -alpha.plain, -beta.plain))
        return a.scaled(rest) + b.scaled(alpha.plain) + c.scaled(beta.plain)
    return a + weighed(b - a, alpha) + weighed(c - a, beta)


def sum_twice(call: CallArguments) -> LinearExpression:
    """(1 − β)·((1 − α)·A + α·B) + β·C"""
    a, b, c = call.alike("A", "B", "C")
    alpha, beta = call.amount("alpha"), call.amount("beta")
    if alpha.plain is not None and beta.plain is not None:
        return _between(_between(a, b, alpha), c, beta)
    return a + weighed(b - a, alpha.times_rest_of(beta)) + weighed(c - a, beta)


def _between(a: LinearExpression, b: LinearExpression, share: Amount) -> LinearExpression:
    """(1 − share)·a + share·b."""
    if share.plain is not None:
        return a.scaled(1.0 - share.plain) + b.scaled(share.plain)
    return a + weighed(b - a, share)


_A, _B, _C, _ALPHA, _BETA = value("A"), value("B"), value("C"), amount("alpha"), amount("beta")
_ELEMENTS = text("elements", optional=True)
FUNCTIONS = (
    Function("weighted_sum", (_A, _B, _ALPHA, _ELEMENTS), weighted_sum),
    Function("add_difference", (_A, _B, _C, _ALPHA, _ELEMENTS), add_difference),
    Function("triple_sum", (_A, _B, _C, _ALPHA, _BETA), triple_sum),
    Function("sum_twice", (_A, _B, _C, _ALPHA, _BETA), sum_twice),
)
