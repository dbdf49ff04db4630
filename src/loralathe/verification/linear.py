"""A formula at one place of the model: a sum of leaves, each with a number (docs/semantics.md §§1–3).

Reads the syntax itself. The engine has the same numbers of typed expressions; that both agree is the check.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from loralathe.engine import ModuleAddress
from loralathe.language import (
    Add,
    At,
    Call,
    Name,
    Negate,
    Node,
    Number,
    Product,
    Recipe,
    Text,
    functions,
    settle,
)
from loralathe.strengths import BlockWeights, ElementRule, block_names_of, last_match

ROUNDING = ("fp16", "bf16")

NAMED_SUMS: Mapping[str, Callable[[float, float], tuple[float, ...]]] = {
    "weighted_sum": lambda alpha, _: (1.0 - alpha, alpha),
    "add_difference": lambda alpha, _: (1.0, alpha, -alpha),
    "triple_sum": lambda alpha, beta: (math.fsum((1.0, -alpha, -beta)), alpha, beta),
    "sum_twice": lambda alpha, beta: ((1.0 - alpha) * (1.0 - beta), alpha * (1.0 - beta), beta),
}
"""Sums called by their names (docs/merge-methods.md): from alpha and beta to the factors of A, B and C."""

EMBEDDINGS = re.compile(r"(^|\.)(time_embed|label_emb)(\.|$)")
OUTPUT_LAYERS = re.compile(r"(^|\.)out\.[02](\.|$)")

Leaf = Name | Call
"""An input, or a call whose value is no sum: extract(…), fp16(…), bf16(…)."""


class NoReferenceError(Exception):
    """The formula uses something that only the engine can compute."""


@dataclass(frozen=True, slots=True)
class Part:
    """`factor × leaf` at one place.

    plain: the factor without block weights;  ruled: an element rule decided, so block weights do not count.
    """

    leaf: Leaf
    factor: float
    plain: float
    weighted: bool = False
    ruled: bool = False

    def times(self, factor: float) -> Part:
        return replace(self, factor=self.factor * factor, plain=self.plain * factor)


Value = float | tuple[Part, ...]


class Linear:
    """Evaluates the formulas of one recipe at places of one model.

    kinds: input name → "checkpoint" or "adapter";  blocks, elements: resolve lists and rules for the family.
    order: the family's long block list.
    """

    def __init__(
        self,
        recipe: Recipe,
        kinds: Mapping[str, str],
        blocks: Callable[[str], BlockWeights],
        elements: Callable[[str], tuple[ElementRule, ...]],
        order: Sequence[str],
    ) -> None:
        self.recipe = recipe
        self.kinds = kinds
        self._blocks = blocks
        self._elements = elements
        self._order = order
        self._known: dict[tuple[Node, ModuleAddress], Value] = {}

    def parts(self, node: Node, place: ModuleAddress) -> tuple[Part, ...]:
        """The sum that a formula is, parts in reading order and not yet added up."""
        value = self._value(node, place)
        assert not isinstance(value, float), "typed when the recipe was opened"
        return value

    def number(self, node: Node) -> float:
        """The value of an argument such as rank=."""
        value = self._value(node, ModuleAddress("", None))
        assert isinstance(value, float)
        return value

    def _value(self, node: Node, place: ModuleAddress) -> Value:
        if (node, place) not in self._known:
            self._known[node, place] = self._evaluate(node, place)
        return self._known[node, place]

    def _evaluate(self, node: Node, place: ModuleAddress) -> Value:
        if isinstance(node, Number):
            return node.value
        if isinstance(node, Name):
            return self._name(node, place)
        if isinstance(node, Negate):
            return _times(self._value(node.value, place), -1.0)
        if isinstance(node, Add):
            return _sum(self._value(node.left, place), self._value(node.right, place))
        if isinstance(node, Product):
            left, right = self._value(node.left, place), self._value(node.right, place)
            return _times(right, left) if isinstance(left, float) else _times(left, right)
        if isinstance(node, At):
            return self._at(node, place)
        if isinstance(node, Call):
            return self._call(node, place)
        raise NoReferenceError("a text among values")

    def _name(self, node: Name, place: ModuleAddress) -> Value:
        if node.id in self.recipe.variables:
            return self.recipe.variables[node.id]
        if node.id in self.recipe.steps:
            return self._value(self.recipe.steps[node.id], place)
        return (Part(Name(node.id), 1.0, 1.0),)

    def _at(self, node: At, place: ModuleAddress) -> Value:
        weights = self._list(node.blocks)
        # A short list says nothing of some blocks. That is an error only where an adapter has modules there,
        # and the plan has looked; here such a part reaches nothing, so its factor is never used.
        covered = weights.covers(place.name, place.block)
        weight = weights.weight_of(place.name, place.block) if covered else math.nan
        return tuple(
            replace(part, factor=part.factor if part.ruled else part.factor * weight, weighted=True)
            for part in self.parts(node.value, place)
        )

    def _list(self, written: Name | Text) -> BlockWeights:
        """The block weights that a name or a quoted text stands for."""
        if isinstance(written, Text):
            return self._blocks(written.value)
        return self._blocks(self.recipe.blocks.get(written.id, written.id))

    def _call(self, node: Call, place: ModuleAddress) -> Value:
        if self.kinds.get(node.function) == "adapter":
            return (self._adapter(node, place),)
        if node.function == "extract":
            return (Part(node, 1.0, 1.0),)
        if node.function in ROUNDING:
            inner = self.extraction(node.args[0], place)
            leaf = replace(node, args=(inner,)) if inner is not None else node
            return (Part(leaf, 1.0, 1.0),)
        if node.function in NAMED_SUMS:
            return self._named_sum(node, place)
        raise NoReferenceError(node.function)

    def _named_sum(self, node: Call, place: ModuleAddress) -> Value:
        given = arguments(node)
        amounts = [self._amount(given[name], place) if name in given else 0.0 for name in ("alpha", "beta")]
        if isinstance(rules := given.get("elements"), Text):
            rule = last_match(self._elements(rules.value), place.name, place.block)
            amounts[0] = amounts[0] if rule is None else rule
        factors = NAMED_SUMS[node.function](*amounts)
        weighted = "elements" in given or not all(
            self._is_number(given[name]) for name in ("alpha", "beta") if name in given
        )
        return tuple(
            replace(part.times(factor), weighted=part.weighted or weighted)
            for name, factor in zip("ABC", factors, strict=False)
            for part in self.parts(given[name], place)
        )

    def _amount(self, node: Node, place: ModuleAddress) -> float:
        """A number, or what a block list weighs a place."""
        if self._is_number(node):
            return self.number(node)
        assert isinstance(node, (Name, Text))
        return amount_of(self._list(node), place, self._order)

    def _is_number(self, node: Node) -> bool:
        names = (*self.recipe.variables, *self.recipe.steps)
        return not isinstance(node, Text) and (not isinstance(node, Name) or node.id in names)

    def extraction(self, node: Node, place: ModuleAddress) -> Call | None:
        """The extract(…) that a formula is and nothing else, rounded or not."""
        parts = self.parts(node, place)
        if len(parts) != 1 or parts[0].plain != 1.0 or parts[0].weighted:
            return None
        leaf = parts[0].leaf
        return leaf if isinstance(leaf, Call) and is_lowrank(leaf) else None

    def _adapter(self, node: Call, place: ModuleAddress) -> Part:
        given = dict(node.kwargs)
        side = "te" if place.name.startswith("te") else "unet"
        strength = self.number(given[side]) if side in given else 1.0
        rule = None
        if isinstance(text := given.get("elements"), Text):
            rule = last_match(self._elements(text.value), place.name, place.block)
        factor = strength if rule is None else strength * rule
        return Part(Name(node.function), factor, strength, ruled=rule is not None)


def is_lowrank(call: Call) -> bool:
    """Whether a call gives factors: extract(…), or its rounding."""
    if call.function == "extract":
        return True
    return call.function in ROUNDING and isinstance(call.args[0], Call) and is_lowrank(call.args[0])


def settled(parts: tuple[Part, ...]) -> dict[Leaf, float]:
    """Leaf → its number, in the order in which leaves are first read; what cancels is gone."""
    factors: dict[Leaf, list[float]] = {}
    for part in parts:
        factors.setdefault(part.leaf, []).append(part.factor)
    sums = {leaf: settle(values) for leaf, values in factors.items()}
    return {leaf: factor for leaf, factor in sums.items() if factor != 0.0}


def _times(value: Value, factor: Value) -> Value:
    assert isinstance(factor, float)
    return value * factor if isinstance(value, float) else tuple(part.times(factor) for part in value)


def _sum(left: Value, right: Value) -> Value:
    if isinstance(left, float) or isinstance(right, float):
        assert isinstance(left, float)
        assert isinstance(right, float)
        return left + right
    return left + right


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
