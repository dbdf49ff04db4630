"""Arguments of a call: bound to parameters by place or name, checked, and asked for by kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from loralathe.errors import InputError, did_you_mean
from loralathe.families import Family
from loralathe.language.expressions import LinearExpression
from loralathe.language.functions import Signature
from loralathe.language.methods.amounts import Amount
from loralathe.language.syntax import (
    Call,
    Name,
    Node,
    Text,
)
from loralathe.strengths import BlockWeights, ElementRule


class Caller(Protocol):
    """The step that a call stands in: gives nodes their values, and errors their place."""

    def error(self, what: str, node: Node, fix: str | None = None) -> InputError: ...
    def expression(self, node: Node) -> LinearExpression: ...
    def number(self, node: Node) -> float: ...
    def is_number(self, name: str) -> bool: ...
    def block_weights(self, node: Name | Text) -> BlockWeights: ...
    def element_rules(self, text: str) -> tuple[ElementRule, ...]: ...
    def block_order(self) -> tuple[str, ...]: ...
    def family(self) -> Family: ...
    def modules_of(self, adapter: str) -> frozenset[str]: ...


class CallArguments:
    """A call's arguments by name."""

    def __init__(
        self, caller: Caller, node: Call, signature: Signature, given: Mapping[str, list[Node]]
    ) -> None:
        self.caller = caller
        self.node = node
        self.signature = signature
        self.given = given

    def error(self, what: str, fix: str | None = None) -> InputError:
        return self.caller.error(what, self.node, fix)

    def expressions(self, name: str) -> list[LinearExpression]:
        return [self.caller.expression(node) for node in self.given[name]]

    def alike(self, *names: str) -> list[LinearExpression]:
        """Values that must be all weights or all deltas."""
        expressions = [expression for name in names for expression in self.expressions(name)]
        if all(expression.is_weights for expression in expressions) or all(
            expression.is_delta for expression in expressions
        ):
            return expressions
        kinds = ", ".join(
            f"{name} is {kind_of(expression)}" for name, expression in zip(names, expressions, strict=True)
        )
        raise self.error(
            f"{self.node.function}() takes models or deltas, not both: {kinds}",
            "a LoRA becomes a model when added to one: A + 0.7*lora",
        )

    def delta(self, name: str) -> LinearExpression:
        (expression,) = self.expressions(name)
        if not expression.is_delta:
            raise self.error(
                f"{self.node.function}() works on a delta; this is {kind_of(expression)}",
                f"subtract the base: A + {self.node.function}(B - A, …)",
            )
        return expression

    def number(self, name: str) -> float:
        if name in self.given:
            return self.caller.number(self.given[name][0])
        parameter = self.signature.named(name)
        assert parameter is not None
        assert parameter.default is not None
        return parameter.default

    def between(
        self, name: str, low: float, high: float, *, open_low: bool = False, open_high: bool = False
    ) -> float:
        """A number in a range whose ends may not belong to it."""
        value = self.number(name)
        if not (low < value if open_low else low <= value) or not (
            value < high if open_high else value <= high
        ):
            first, last = "above" if open_low else "at least", "below" if open_high else "at most"
            raise self.error(f"{name} must be {first} {low:g} and {last} {high:g}, not {value:g}")
        return value

    def whole(self, name: str) -> int:
        value = self.number(name)
        if not math.isfinite(value) or value != int(value) or not 0 <= value < 1 << 53:
            raise self.error(f"{name} must be a whole number of at least 0, not {value:g}")
        return int(value)

    def text(self, name: str) -> str | None:
        if name not in self.given:
            return None
        (node,) = self.given[name]
        if not isinstance(node, Text):
            raise self.error(f"{name} needs a quoted text", f"write {self.signature}")
        return node.value

    def amount(self, name: str) -> Amount:
        """A number, a variable, the name of a block list or a quoted one."""
        (node,) = self.given[name]
        order = self.caller.block_order()
        if isinstance(node, Text) or (isinstance(node, Name) and not self.caller.is_number(node.id)):
            return Amount(None, self.caller.block_weights(node), order)
        return Amount(self.caller.number(node), None, order)

    def amount_with_elements(self, name: str) -> Amount:
        rules = self.text("elements")
        amount = self.amount(name)
        return amount if rules is None else replace(amount, elements=self.caller.element_rules(rules))


def bind(caller: Caller, node: Call, signature: Signature) -> dict[str, list[Node]]:
    """Parameter name to the nodes given for it."""
    given: dict[str, list[Node]] = {}
    for index, value in enumerate(node.args):
        parameter = signature.parameter_at(index)
        if parameter is None:
            raise caller.error(
                f"{node.function}() takes {len(signature.parameters)} values", node, str(signature)
            )
        given.setdefault(parameter.name, []).append(value)
    for key, value in node.kwargs:
        parameter = signature.named(key)
        if parameter is None or parameter.kind == "values":
            names = [parameter.name for parameter in signature.parameters if parameter.kind != "values"]
            fix = did_you_mean(key, names) or f"write {signature}"
            raise caller.error(f"{node.function}() has no argument '{key}'", node, fix)
        if key in given:
            raise caller.error(f"'{key}' is given twice", node, f"write {signature}")
        given[key] = [value]
    for parameter in signature.parameters:
        if parameter.name not in given and parameter.default is None and not parameter.optional:
            raise caller.error(f"{node.function}() needs '{parameter.name}'", node, f"write {signature}")
    return given


def kind_of(expression: LinearExpression) -> str:
    """What a value is, in words."""
    from loralathe.language.checker import describe

    return describe(expression)
