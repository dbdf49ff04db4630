"""A function of the formula language: its parameters, and the arguments of one call of it.

Each function is a file in `methods/`; docs/merge-methods.md has a section for each merge method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from loralathe.errors import InputError, did_you_mean
from loralathe.families import Family
from loralathe.language.amounts import Amount
from loralathe.language.expressions import LinearExpression, describe
from loralathe.language.syntax import Call, Name, Node, Text
from loralathe.strengths import BlockWeights, ElementRule

Kind = Literal["value", "values", "amount", "number", "text", "option"]
"""value: weights or a delta;  values: one or more of them;  amount: a number or a block list;
option: a number or a text, given by name only."""

SHOWN = 3
"""Options that a usage text lists."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function; without a default it must be given, unless it is optional."""

    name: str
    kind: Kind
    default: float | None = None
    optional: bool = False

    def __str__(self) -> str:
        if self.kind == "values":
            return f"{self.name}1, {self.name}2, …"
        if self.default is not None:
            return f"{self.name}={self.default:g}"
        return f"{self.name}=…" if self.optional else self.name


def value(name: str) -> Parameter:
    return Parameter(name, "value")


def values(name: str) -> Parameter:
    return Parameter(name, "values")


def amount(name: str) -> Parameter:
    return Parameter(name, "amount")


def number(name: str, default: float | None = None) -> Parameter:
    return Parameter(name, "number", default)


def text(name: str, *, optional: bool = False) -> Parameter:
    return Parameter(name, "text", optional=optional)


def option(name: str) -> Parameter:
    return Parameter(name, "option", optional=True)


@dataclass(frozen=True)
class Function:
    """A function of the language.

    parameters: in the order in which they may be given without names;
    build:      what a call of it is, as an expression. Raises InputError.
    """

    name: str
    parameters: tuple[Parameter, ...]
    build: Callable[[CallArguments], LinearExpression]

    def __str__(self) -> str:
        options = [str(parameter) for parameter in self.parameters if parameter.kind == "option"]
        shown = [str(parameter) for parameter in self.parameters if parameter.kind != "option"]
        more = ["…"] if len(options) > SHOWN else []
        return f"{self.name}({', '.join(shown + options[:SHOWN] + more)})"

    @property
    def positional(self) -> tuple[Parameter, ...]:
        return tuple(parameter for parameter in self.parameters if parameter.kind != "option")

    def parameter_at(self, index: int) -> Parameter | None:
        """The parameter that the index-th unnamed argument goes to; None when there are too many."""
        if self.parameters[0].kind == "values":
            return self.parameters[0]
        return self.positional[index] if index < len(self.positional) else None

    def named(self, name: str) -> Parameter | None:
        """The parameter of that name, if it can be given by name."""
        return next((one for one in self.parameters if one.name == name and one.kind != "values"), None)

    def block_values(self, call: Call) -> list[Node]:
        """Arguments of a call of this function that may be block lists."""
        pairs = [(self.parameter_at(index), node) for index, node in enumerate(call.args)]
        pairs += [(self.named(key), node) for key, node in call.kwargs]
        return [node for parameter, node in pairs if parameter is not None and parameter.kind == "amount"]


class Caller(Protocol):
    """The step that a call stands in: gives nodes their values, and errors their place."""

    def error(
        self, what: str, node: Node, fix: str | None = None, about: str | None = None
    ) -> InputError: ...
    def expression(self, node: Node) -> LinearExpression: ...
    def number(self, node: Node) -> float: ...
    def is_number(self, name: str) -> bool: ...
    def block_weights(self, node: Name | Text) -> BlockWeights: ...
    def element_rules(self, text: str) -> tuple[ElementRule, ...]: ...
    def family(self) -> Family: ...


class CallArguments:
    """The arguments of one call, by the names of the parameters; a builder asks for them by kind."""

    def __init__(self, caller: Caller, call: Call, function: Function) -> None:
        self.caller = caller
        self.call = call
        self.function = function
        self.given = _bind(caller, call, function)

    def error(self, what: str, fix: str | None = None, about: str | None = None) -> InputError:
        return self.caller.error(what, self.call, fix, about)

    def expressions(self, name: str) -> list[LinearExpression]:
        return [self.caller.expression(node) for node in self.given[name]]

    def expression(self, name: str) -> LinearExpression:
        (found,) = self.expressions(name)
        return found

    def alike(self, *names: str) -> list[LinearExpression]:
        """Values that must be all weights or all deltas."""
        found = [self.expression(name) for name in names]
        if all(one.is_weights for one in found) or all(one.is_delta for one in found):
            return found
        kinds = ", ".join(f"{name} is {describe(one)}" for name, one in zip(names, found, strict=True))
        raise self.error(
            f"{self.function.name}() takes models or deltas, not both: {kinds}",
            "a LoRA becomes a model when added to one: A + 0.7*lora",
        )

    def delta(self, name: str) -> LinearExpression:
        found = self.expression(name)
        if not found.is_delta:
            raise self.error(
                f"{self.function.name}() works on a delta; this is {describe(found)}",
                f"subtract the base: A + {self.function.name}(B - A, …)",
            )
        return found

    def number(self, name: str) -> float:
        if name in self.given:
            return self.caller.number(self.given[name][0])
        parameter = self.function.named(name)
        assert parameter is not None
        assert parameter.default is not None
        return parameter.default

    def between(
        self, name: str, low: float, high: float, *, open_low: bool = False, open_high: bool = False
    ) -> float:
        """A number in a range whose ends may not belong to it."""
        found = self.number(name)
        if not (low < found if open_low else low <= found) or not (
            found < high if open_high else found <= high
        ):
            first, last = "above" if open_low else "at least", "below" if open_high else "at most"
            raise self.error(f"{name} must be {first} {low:g} and {last} {high:g}, not {found:g}")
        return found

    def whole(self, name: str) -> int:
        found = self.number(name)
        if not math.isfinite(found) or found != int(found) or not 0 <= found < 1 << 53:
            raise self.error(f"{name} must be a whole number of at least 0, not {found:g}")
        return int(found)

    def text(self, name: str) -> str | None:
        if name not in self.given:
            return None
        (node,) = self.given[name]
        if not isinstance(node, Text):
            raise self.error(f"{name} needs a quoted text", f"write {self.function}")
        return node.value

    def amount(self, name: str) -> Amount:
        """A number, a variable, the name of a block list or a quoted one."""
        (node,) = self.given[name]
        family = self.caller.family()
        if isinstance(node, Text) or (isinstance(node, Name) and not self.caller.is_number(node.id)):
            return Amount(None, self.caller.block_weights(node), family)
        return Amount(self.caller.number(node), None, family)

    def amount_with_elements(self, name: str) -> Amount:
        rules = self.text("elements")
        found = self.amount(name)
        return found if rules is None else replace(found, elements=self.caller.element_rules(rules))

    def options(self) -> dict[str, float | str]:
        """The options that were given, by name."""
        return {
            parameter.name: node.value if isinstance(node, Text) else self.caller.number(node)
            for parameter in self.function.parameters
            if parameter.kind == "option"
            for node in self.given.get(parameter.name, ())
        }


def _bind(caller: Caller, call: Call, function: Function) -> Mapping[str, list[Node]]:
    """Parameter name to the nodes given for it."""
    given: dict[str, list[Node]] = {}
    for index, node in enumerate(call.args):
        parameter = function.parameter_at(index)
        if parameter is None:
            most = len(function.positional)
            allowed = "one value" if most == 1 else f"{most} values"
            raise caller.error(f"{function.name}() takes {allowed}", call, f"write {function}")
        given.setdefault(parameter.name, []).append(node)
    for key, node in call.kwargs:
        if function.named(key) is None:
            names = [parameter.name for parameter in function.parameters if parameter.kind != "values"]
            fix = did_you_mean(key, names) or f"it has: {', '.join(names)}"
            raise caller.error(f"{function.name}() has no argument '{key}'", call, fix)
        if key in given:
            raise caller.error(f"'{key}' is given twice", call, f"write {function}")
        given[key] = [node]
    for parameter in function.parameters:
        if parameter.name not in given and parameter.default is None and not parameter.optional:
            raise caller.error(f"{function.name}() needs '{parameter.name}'", call, f"write {function}")
    return given
