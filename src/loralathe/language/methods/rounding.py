"""fp16(x), bf16(x): a step rounded as a saved file would be."""

from __future__ import annotations

from dataclasses import replace

from loralathe.language.expressions import (
    ExtractLeaf,
    LinearExpression,
    RoundLeaf,
    Term,
    describe,
    single_leaf,
)
from loralathe.language.function import CallArguments, Function, value
from loralathe.strengths import Strength

DTYPES = {"fp16": "F16", "bf16": "BF16"}


def rounded(call: CallArguments) -> LinearExpression:
    """Weights, or the factors of an extraction, in the dtype that the function is named after."""
    expression, dtype = call.expression("x"), DTYPES[call.function.name]
    leaf = single_leaf(expression)
    if isinstance(leaf, ExtractLeaf):
        leaf = ExtractLeaf(leaf.expression, replace(leaf.options, round_to=dtype))
        return LinearExpression((Term(leaf, Strength()),))
    if not expression.is_weights:
        raise call.error(
            f"{call.function.name}() rounds weights or an extracted adapter; this is {describe(expression)}"
        )
    return LinearExpression((Term(RoundLeaf(expression, dtype), Strength()),))


FUNCTIONS = tuple(Function(name, (value("x"),), rounded) for name in DTYPES)
