"""Syntax to typed values: what each name is, whether a value is weights or a delta, and what was meant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from loralathe.errors import InputError, did_you_mean
from loralathe.families import Family
from loralathe.language.expressions import (
    MOST_NESTED,
    MOST_TERMS,
    AdapterLeaf,
    CheckpointLeaf,
    Leaf,
    LinearExpression,
    Term,
    single_leaf,
)
from loralathe.language.function import CallArguments
from loralathe.language.methods import functions
from loralathe.language.recipe import Recipe, steps_in_order
from loralathe.language.syntax import Add, At, Call, Name, Negate, Node, Number, Product, Text, render
from loralathe.strengths import BlockWeights, ElementRule, Strength

Value = LinearExpression | float

ADAPTER_KEYS = ("te", "unet", "elements")


class TypeChecker:
    """Types the steps of one recipe.

    kinds:  input name -> "checkpoint" or "adapter", known from the headers.
    blocks: resolves the right side of `@` for the family at hand;  elements: the same for rules.
    family: the family of the inputs, for functions that know its parts.
    """

    def __init__(
        self,
        recipe: Recipe,
        kinds: Mapping[str, str],
        blocks: Callable[[str], BlockWeights],
        elements: Callable[[str], tuple[ElementRule, ...]],
        family: Callable[[], Family],
    ) -> None:
        self.recipe = recipe
        self.kinds = kinds
        self.blocks = blocks
        self.elements = elements
        self.family = family
        self._steps: dict[str, Value] = {}

    def step(self, name: str) -> LinearExpression:
        """The value of a step; InputError when it is a bare number."""
        value = self._step(name)
        if isinstance(value, float):
            raise InputError(
                f"step '{name}' is a number, not weights or a delta",
                where=self.recipe.where,
                fix="numbers belong under [variables]",
            )
        return value

    def leaf(self, call: Call) -> Leaf | None:
        """The single leaf that a call such as extract(…) is, None for a sum."""
        return single_leaf(_Evaluation(self, self.recipe.where).expression(call))

    def leaves_of_steps(self, names: Iterable[str]) -> dict[Leaf, str]:
        """Those of these steps that are a single leaf, by the leaf."""
        values = ((name, self._step(name)) for name in names)
        leaves = {name: single_leaf(value) for name, value in values if not isinstance(value, float)}
        return {leaf: name for name, leaf in leaves.items() if leaf is not None}

    def _step(self, name: str) -> Value:
        if name not in self._steps:
            for needed in steps_in_order(self.recipe, [name]):
                if needed not in self._steps:
                    self._steps[needed] = self._evaluated(needed)
        return self._steps[name]

    def _evaluated(self, name: str) -> Value:
        where = f"{self.recipe.where}, step '{name}'"
        try:
            return _Evaluation(self, where).value(self.recipe.steps[name])
        except InputError as error:
            if error.where is None:
                raise InputError(error.what, where=where, fix=error.fix, about=error.about) from None
            if error.where.startswith(("block weights '", "element rules '")):
                place = f"{where}, {error.where}"
                raise InputError(error.what, where=place, fix=error.fix, about=error.about) from None
            raise


class _Evaluation:
    """Evaluates one step's graph; knows where it stands for errors."""

    def __init__(self, checker: TypeChecker, where: str) -> None:
        self.checker = checker
        self.where = where

    def error(self, what: str, node: Node, fix: str | None = None, about: str | None = None) -> InputError:
        where = f"{self.where}, character {node.at + 1}: {render(node)}"
        return InputError(what, where=where, fix=fix, about=about)

    def value(self, node: Node) -> Value:
        """What a node stands for; InputError where that is more than anybody can compute with."""
        value = self.unbounded(node)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise self.error("this number is too large", node, "write a smaller one")
        elif value.size > MOST_TERMS:
            raise self.error(
                f"this is a sum of {value.size:,} terms; the most is {MOST_TERMS:,}",
                node,
                "a step counts wherever it is used: save it, and make the file an input of another recipe",
            )
        elif value.depth > MOST_NESTED:
            raise self.error(
                f"more than {MOST_NESTED} functions inside each other",
                node,
                "save a step between, and make the file an input of another recipe",
            )
        return value

    def unbounded(self, node: Node) -> Value:
        if isinstance(node, Number):
            return node.value
        if isinstance(node, Name):
            return self.name(node)
        if isinstance(node, Negate):
            value = self.value(node.value)
            return -value if isinstance(value, float) else value.scaled(-1.0)
        if isinstance(node, Add):
            return self.sum(node)
        if isinstance(node, Product):
            return self.product(node)
        if isinstance(node, At):
            return self.at(node)
        if isinstance(node, Call):
            return self.call(node)
        raise self.error("a quoted text cannot stand here", node, "block lists belong to the right of '@'")

    def name(self, node: Name) -> Value:
        recipe = self.checker.recipe
        if node.id in recipe.variables:
            return recipe.variables[node.id]
        if node.id in recipe.steps:
            return self.checker._step(node.id)
        if node.id in recipe.blocks:
            raise self.error(
                f"'{node.id}' is a list of block weights", node, f"attach it to a delta: x@{node.id}"
            )
        if node.id not in self.checker.kinds:
            raise self.no_value(node)
        is_checkpoint = self.checker.kinds[node.id] == "checkpoint"
        leaf = CheckpointLeaf(node.id) if is_checkpoint else AdapterLeaf(node.id)
        return LinearExpression((Term(leaf, Strength()),))

    def no_value(self, node: Name) -> InputError:
        """The error for a name that stands for nothing, or for a function that is not called."""
        recipe = self.checker.recipe
        if node.id in functions():
            return self.error(f"'{node.id}' is a function", node, f"call it: {functions()[node.id]}")
        known = (*recipe.inputs, *recipe.variables, *recipe.steps)
        return self.error(f"nothing is called '{node.id}'", node, did_you_mean(node.id, known) or None)

    def sum(self, node: Add) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(left, float) and isinstance(right, float):
            return left + right
        if isinstance(left, float) or isinstance(right, float):
            raise self.error(
                "a number cannot be added to weights or a delta", node, "numbers multiply: 0.7*x"
            )
        return left + right

    def product(self, node: Product) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(left, float):
            return left * right if isinstance(right, float) else right.scaled(left)
        if isinstance(right, float):
            return left.scaled(right)
        raise self.error(
            "two models cannot be multiplied", node, "one side of '*' must be a number or variable"
        )

    def expression(self, node: Node) -> LinearExpression:
        value = self.value(node)
        if isinstance(value, float):
            raise self.error("weights or a delta are needed here, not a number", node)
        return value

    def number(self, node: Node) -> float:
        value = self.value(node)
        if not isinstance(value, float):
            raise self.error("a number is needed here", node)
        return value

    def at(self, node: At) -> LinearExpression:
        expression = self.expression(node.value)
        if not expression.is_delta:
            raise self.error(
                "block weights attach to a delta or an adapter, not to weights",
                node,
                "a block-weighted sum is A + (B - A)@X",
            )
        if any(term.strength.blocks is not None for term in expression.terms):
            raise self.error("this value has block weights already", node, "multiply the two lists into one")
        blocks = self.block_weights(node.blocks)
        return LinearExpression(
            tuple(replace(term, strength=replace(term.strength, blocks=blocks)) for term in expression.terms)
        )

    def block_text(self, node: Name | Text) -> str:
        recipe = self.checker.recipe
        if isinstance(node, Text):
            return node.value
        if node.id in recipe.blocks:
            return recipe.blocks[node.id]
        known = (
            "a step" if node.id in recipe.steps else "an input" if node.id in recipe.inputs else "a variable"
        )
        if node.id in recipe.steps or node.id in recipe.inputs or node.id in recipe.variables:
            raise self.error(f"'{node.id}' is {known}, not a list of block weights", node)
        return node.id

    def call(self, node: Call) -> LinearExpression:
        if function := functions().get(node.function):
            return function.build(CallArguments(self, node, function))
        if self.checker.kinds.get(node.function) == "adapter":
            return self.adapter(node)
        raise self.error(
            f"'{node.function}' cannot be called",
            node,
            f"functions are {', '.join(functions())}; adapters can be called",
        )

    def is_number(self, name: str) -> bool:
        """Whether a name is a variable, or a step that is a number."""
        recipe = self.checker.recipe
        return name in recipe.variables or (
            name in recipe.steps and isinstance(self.checker._step(name), float)
        )

    def block_weights(self, node: Name | Text) -> BlockWeights:
        return self.checker.blocks(self.block_text(node))

    def element_rules(self, text: str) -> tuple[ElementRule, ...]:
        return self.checker.elements(text)

    def family(self) -> Family:
        return self.checker.family()

    def adapter(self, node: Call) -> LinearExpression:
        """An adapter with strengths and rules of its own."""
        if node.args:
            raise self.error(
                "an adapter takes named strengths only", node, f"{node.function}(te=0.5, unet=0.8)"
            )
        given: dict[str, Node] = {}
        for key, value in node.kwargs:
            if key not in ADAPTER_KEYS:
                hint = did_you_mean(key, ADAPTER_KEYS) or "known: " + ", ".join(ADAPTER_KEYS)
                raise self.error(f"{node.function}() has no argument '{key}'", node, hint)
            if key in given:
                raise self.error(f"'{key}' is given twice", node)
            given[key] = value
        strength = Strength(
            te=self.number(given["te"]) if "te" in given else 1.0,
            unet=self.number(given["unet"]) if "unet" in given else 1.0,
        )
        if "elements" in given:
            text = given["elements"]
            if not isinstance(text, Text):
                raise self.error("elements= needs a quoted rule", node, "elements='IN04-OUT02:attn2:0.5'")
            strength = replace(strength, elements=self.checker.elements(text.value))
        return LinearExpression((Term(AdapterLeaf(node.function), strength),))
