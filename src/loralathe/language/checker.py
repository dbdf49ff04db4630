"""Syntax to typed values: what each name is, whether a value is weights or a delta, and what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from loralathe.errors import InputError, did_you_mean
from loralathe.families import Family
from loralathe.language.document import FUNCTIONS, Recipe
from loralathe.language.expressions import (
    AdapterLeaf,
    CheckpointLeaf,
    ExtractLeaf,
    Leaf,
    LinearExpression,
    RoundLeaf,
    Term,
    single_leaf,
)
from loralathe.language.extract_arguments import (
    KEYS,
    Argument,
    check_expression,
    read_options,
)
from loralathe.language.functions import SIGNATURES
from loralathe.language.methods.calls import call_function
from loralathe.language.syntax import (
    Add,
    At,
    Call,
    Name,
    Negate,
    Node,
    Number,
    Product,
    Text,
    render,
)
from loralathe.strengths import BlockWeights, ElementRule, Strength

Value = LinearExpression | float

ROUNDING = {"fp16": "F16", "bf16": "BF16"}
ADAPTER_KEYS = ("te", "unet", "elements")


class TypeChecker:
    """Types the steps of one recipe.

    kinds:  input name -> "checkpoint" or "adapter", known from the headers.
    blocks: resolves the right side of `@` for the family at hand;  elements: the same for rules.
    family: the family of the inputs, for functions that know its parts.
    modules: adapter → canonical names of its modules, for functions that act there only.
    """

    def __init__(
        self,
        recipe: Recipe,
        kinds: Mapping[str, str],
        blocks: Callable[[str], BlockWeights],
        elements: Callable[[str], tuple[ElementRule, ...]],
        family: Callable[[], Family],
        modules: Callable[[str], Iterable[str]],
    ) -> None:
        self.recipe = recipe
        self.kinds = kinds
        self.blocks = blocks
        self.elements = elements
        self.family = family
        self.modules = modules
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

    def _step(self, name: str) -> Value:
        if name not in self._steps:
            where = f"{self.recipe.where}, step '{name}'"
            try:
                self._steps[name] = _Evaluation(self, where).value(self.recipe.steps[name])
            except InputError as error:
                if error.where is None:
                    raise InputError(error.what, where=where, fix=error.fix) from None
                if error.where.startswith(("block weights '", "element rules '")):
                    place = f"{where}, {error.where}"
                    raise InputError(error.what, where=place, fix=error.fix) from None
                raise
        return self._steps[name]


class _Evaluation:
    """Evaluates one step's graph; knows where it stands for errors."""

    def __init__(self, checker: TypeChecker, where: str) -> None:
        self.checker = checker
        self.where = where

    def error(self, what: str, node: Node, fix: str | None = None) -> InputError:
        return InputError(what, where=f"{self.where}, character {node.at + 1}: {render(node)}", fix=fix)

    def value(self, node: Node) -> Value:
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
        return LinearExpression((Term(self.leaf(node.id), Strength()),))

    def no_value(self, node: Name) -> InputError:
        """The error for a name that stands for nothing, or for a function that is not called."""
        recipe = self.checker.recipe
        if node.id in FUNCTIONS:
            usage = SIGNATURES.get(node.id, f"{node.id}(…)")
            return self.error(f"'{node.id}' is a function", node, f"call it: {usage}")
        known = (*recipe.inputs, *recipe.variables, *recipe.steps)
        return self.error(f"nothing is called '{node.id}'", node, did_you_mean(node.id, known) or None)

    def leaf(self, name: str) -> CheckpointLeaf | AdapterLeaf:
        return CheckpointLeaf(name) if self.checker.kinds[name] == "checkpoint" else AdapterLeaf(name)

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
        if node.function in KEYS:
            return self.extract(node)
        if node.function in ROUNDING:
            return self.round(node)
        if node.function in SIGNATURES:
            return call_function(self, node)
        if self.checker.kinds.get(node.function) == "adapter":
            return self.adapter(node)
        listing = ", ".join(("extract", "combine", "resize", *ROUNDING, *SIGNATURES))
        raise self.error(
            f"'{node.function}' cannot be called", node, f"functions are {listing}; adapters can be called"
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

    def block_order(self) -> tuple[str, ...]:
        return self.checker.family().long_blocks

    def family(self) -> Family:
        return self.checker.family()

    def modules_of(self, adapter: str) -> frozenset[str]:
        return frozenset(self.checker.modules(adapter))

    def arguments(self, node: Call, allowed: tuple[str, ...]) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key, value in node.kwargs:
            if key not in allowed:
                hint = did_you_mean(key, allowed) or "known: " + ", ".join(allowed)
                raise self.error(f"{node.function}() has no argument '{key}'", node, hint)
            if key in found:
                raise self.error(f"'{key}' is given twice", node)
            found[key] = value
        return found

    def only_argument(self, node: Call) -> LinearExpression:
        if len(node.args) != 1:
            raise self.error(f"{node.function}() takes exactly one value", node)
        return self.expression(node.args[0])

    def adapter(self, node: Call) -> LinearExpression:
        if node.args:
            raise self.error(
                "an adapter takes named strengths only", node, f"{node.function}(te=0.5, unet=0.8)"
            )
        given = self.arguments(node, ADAPTER_KEYS)
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

    def round(self, node: Call) -> LinearExpression:
        if node.kwargs:
            raise self.error(f"{node.function}() takes one value and nothing else", node)
        expression = self.only_argument(node)
        dtype = ROUNDING[node.function]
        leaf = single_leaf(expression)
        if isinstance(leaf, ExtractLeaf):
            leaf = ExtractLeaf(leaf.expression, replace(leaf.options, round_to=dtype))
            return LinearExpression((Term(leaf, Strength()),))
        if not expression.is_weights:
            raise self.error(
                f"{node.function}() rounds weights or an extracted adapter; this is {describe(expression)}",
                node,
            )
        return LinearExpression((Term(RoundLeaf(expression, dtype), Strength()),))

    def extract(self, node: Call) -> LinearExpression:
        """extract(), and combine() and resize(), which do the same to factors."""
        given = self.arguments(node, KEYS[node.function])
        if not node.args or (len(node.args) > 1 and node.function != "combine"):
            raise self.error(f"{node.function}() takes exactly one value", node)
        expression = sum((self.expression(arg) for arg in node.args[1:]), self.expression(node.args[0]))
        values = {key: self.argument(value) for key, value in given.items()}
        unbalanced = bool(values.pop("unbalanced", 0.0))
        try:
            check_expression(node.function, expression, unbalanced, describe(expression))
            options = read_options(node.function, values)
        except InputError as error:
            raise self.error(error.what, node, error.fix) from None
        return LinearExpression((Term(ExtractLeaf(expression, options), Strength()),))

    def argument(self, node: Node) -> Argument:
        return node.value if isinstance(node, Text) else self.number(node)


def describe(expression: LinearExpression) -> str:
    """What a value is, in words for errors: "weights", "a delta", "2 models' worth of weights"."""
    if expression.is_weights:
        return "weights"
    if expression.is_delta:
        return "a delta"
    return f"{expression.checkpoint_sum:g} models' worth of weights"


def require_weights(expression: LinearExpression, what: str, where: str) -> None:
    """InputError unless `expression` is weights, saying what was probably meant."""
    if expression.is_weights:
        return
    if expression.is_delta:
        fix = "a delta becomes an adapter with extract(…, rank=64), or weights when added to a checkpoint"
    else:
        fix = "weights must add up to one model: 0.5*A + 0.5*B, or A + (B - C)"
    raise InputError(f"{what} is {describe(expression)}", where=where, fix=fix)
