"""Sums called by their names (docs/merge-methods.md): the numbers before their arguments at one place."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from loralathe.engine import ModuleAddress
from loralathe.language import Call, Node, functions
from loralathe.strengths import BlockWeights, block_names_of

NAMED_SUMS: Mapping[str, Callable[[float, float], tuple[float, ...]]] = {
    "weighted_sum": lambda alpha, _: (1.0 - alpha, alpha),
    "add_difference": lambda alpha, _: (1.0, alpha, -alpha),
    "triple_sum": lambda alpha, beta: (math.fsum((1.0, -alpha, -beta)), alpha, beta),
    "sum_twice": lambda alpha, beta: ((1.0 - alpha) * (1.0 - beta), alpha * (1.0 - beta), beta),
}
"""Function → from alpha and beta to the numbers before A, B and C."""

EMBEDDINGS = re.compile(r"(^|\.)(time_embed|label_emb)(\.|$)")
OUTPUT_LAYERS = re.compile(r"(^|\.)out\.[02](\.|$)")


def arguments(call: Call) -> dict[str, Node]:
    """A call's arguments by the names of the parameters."""
    names = [parameter.name for parameter in functions()[call.function].parameters]
    return dict(zip(names, call.args, strict=False)) | dict(call.kwargs)


def amount_of(weights: BlockWeights, place: ModuleAddress, order: Sequence[str]) -> float:
    """What a list weighs a tensor, of blocks or not; order: the family's long list."""
    known = dict(weights.weights)
    for name in block_names_of(place.name, place.block) or (_instead_of_a_block(place.name, order),):
        if name in known:
            return known[name]
    return 1.0 if weights.rest is None else weights.rest


def _instead_of_a_block(name: str, order: Sequence[str]) -> str:
    if EMBEDDINGS.search(name):
        return next(block for block in order if block.startswith("IN"))
    if OUTPUT_LAYERS.search(name):
        return next(block for block in reversed(order) if block.startswith("OUT"))
    return "BASE"
