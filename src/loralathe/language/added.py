"""What weights add to their first checkpoint, part by part: W + Σ part, each part a delta.

An adapter is a part, and so is an extraction, a method's delta, and a difference of models that a formula
writes out: `A + 0.7*hina + M*(B - C)` has the parts hina and B − C. Models that are mixed are differences
from the first: `0.5*A + 0.3*B + 0.2*C` is A + 0.3·(B − A) + 0.2·(C − A).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from loralathe.language.expressions import (
    TOLERANCE,
    AdapterLeaf,
    CheckpointLeaf,
    ExtractLeaf,
    Leaf,
    LinearExpression,
    RoundLeaf,
    Term,
    inner_expressions,
    settle,
    weight_of,
)

Named = Mapping[Leaf, str]
"""Steps that are one leaf, such as an extraction, by that leaf."""


def added_parts(expression: LinearExpression, named: Named) -> dict[str, LinearExpression]:
    """Name → delta; their sum is all that `expression`, which is weights, adds to its first checkpoint."""
    primary = expression.primary
    assert primary is not None, "weights have a first checkpoint"
    first = CheckpointLeaf(primary)
    found: dict[str, list[Term]] = {}
    for term in expression.terms:
        if not _is_weights(term.leaf):
            found.setdefault(_leaf_text(term.leaf, named), []).append(term)
    differences, models = _differences([term for term in expression.terms if _is_weights(term.leaf)])
    for group in differences:
        found.setdefault(_difference_text(group, named), []).extend(group)
    for leaf, terms in models.items():
        if leaf != first:
            own = [Term(first, term.strength.times(-weight_of(leaf))) for term in terms]
            name = f"{_leaf_text(leaf, named)} - {primary}"
            found.setdefault(name, []).extend([*terms, *own])
    return {name: LinearExpression(tuple(terms)) for name, terms in found.items()}


def _is_weights(leaf: Leaf) -> bool:
    return abs(weight_of(leaf)) > TOLERANCE


def _differences(terms: Sequence[Term]) -> tuple[list[list[Term]], dict[Leaf, list[Term]]]:
    """Neighbours that add up to no model, as they are written; and the models that are left, by leaf.

    A difference with a model that cancels in the whole formula is none: that model is not read.
    """
    cancelled = _cancelled(terms)
    differences: list[list[Term]] = []
    models: dict[Leaf, list[Term]] = {}
    group: list[Term] = []
    for term in terms:
        group.append(term)
        total = math.fsum(item.strength.unet * weight_of(item.leaf) for item in group)
        if abs(total) < TOLERANCE and not any(item.leaf in cancelled for item in group):
            differences.append(group)
        elif abs(total) < TOLERANCE or abs(total - 1.0) < TOLERANCE or term is terms[-1]:
            for item in group:
                models.setdefault(item.leaf, []).append(item)
        else:
            continue
        group = []
    return differences, {leaf: held for leaf, held in models.items() if leaf not in cancelled}


def _cancelled(terms: Iterable[Term]) -> set[Leaf]:
    factors: dict[Leaf, list[float]] = {}
    for term in terms:
        # With block weights on them, they cancel in some blocks only.
        factors.setdefault(term.leaf, []).append(math.nan if term.strength.blocks else term.strength.unet)
    return {leaf for leaf, values in factors.items() if settle(values) == 0.0}


def _difference_text(group: Sequence[Term], named: Named) -> str:
    """`B - C`, whatever its factor."""
    scale = group[0].strength.unet
    return _sum_text([(term.leaf, term.strength.unet / scale) for term in group if scale], named)


def _sum_text(parts: Iterable[tuple[Leaf, float]], named: Named) -> str:
    text = ""
    for leaf, factor in parts:
        sign = ("-" if factor < 0 else "") if not text else (" - " if factor < 0 else " + ")
        amount = "" if abs(factor) == 1.0 else f"{abs(factor):g}*"
        text += f"{sign}{amount}{_leaf_text(leaf, named)}"
    return text


def _leaf_text(leaf: Leaf, named: Named) -> str:
    """A leaf as a formula would write it, by the name of its step if it has one."""
    if isinstance(leaf, (CheckpointLeaf, AdapterLeaf)):
        return leaf.name
    if leaf in named:
        return named[leaf]
    inside = [
        _sum_text(((term.leaf, term.strength.unet) for term in expression.terms), named)
        for expression in inner_expressions(leaf)
    ]
    if isinstance(leaf, ExtractLeaf):
        function = "extract"
    elif isinstance(leaf, RoundLeaf):
        function = {"F16": "fp16", "BF16": "bf16"}[leaf.dtype]
    else:
        function = leaf.method.name
    return f"{function}({', '.join(inside)})"
