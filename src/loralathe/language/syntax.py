"""The untyped graph of a formula: what was written, with the place where it was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Union


@dataclass(frozen=True, slots=True)
class Number:
    """A literal number."""

    value: float
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted text: a block list on the right of `@`, or an argument."""

    value: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """An input, step, variable or block list."""

    id: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Negate:
    """`-value`."""

    value: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Add:
    """`left + right`; a difference is the sum with a `Negate`."""

    left: Node
    right: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Product:
    """`left * right`; one side must turn out to be a number."""

    left: Node
    right: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class At:
    """`value @ blocks`: block weights attached to a delta."""

    value: Node
    blocks: Name | Text
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """`function(args, key=value)`; the function may be an adapter's name."""

    function: str
    args: tuple[Node, ...]
    kwargs: tuple[tuple[str, Node], ...]
    at: int = field(default=0, compare=False)


Node = Union[Number, Text, Name, Negate, Add, Product, At, Call]  # noqa: UP007 -- forward names above


def children(node: Node) -> tuple[Node, ...]:
    """The operands of a node in reading order, the right side of `@` left out."""
    if isinstance(node, (Negate, At)):
        return (node.value,)
    if isinstance(node, (Add, Product)):
        return (node.left, node.right)
    if isinstance(node, Call):
        return (*node.args, *(value for _, value in node.kwargs))
    return ()


def value_names(node: Node) -> Iterator[Name]:
    """Names used as values or called, in reading order."""
    if isinstance(node, Name):
        yield node
    if isinstance(node, Call):
        yield Name(node.function, node.at)
    for child in children(node):
        yield from value_names(child)


def render(node: Node) -> str:
    """The formula as text again, normalised; `parse_expression(render(n)) == n`."""
    return _render(node, 0)


_SUM, _TERM, _ATOM = 0, 1, 2


def _render(node: Node, level: int) -> str:
    if isinstance(node, Number):
        return _wrap(repr(node.value).removesuffix(".0"), node.value < 0 and level > _SUM)
    if isinstance(node, Name):
        return node.id
    if isinstance(node, Text):
        return repr(node.value)
    if isinstance(node, Call):
        parts = [_render(arg, _SUM) for arg in node.args]
        parts += [f"{key}={_render(value, _SUM)}" for key, value in node.kwargs]
        return f"{node.function}({', '.join(parts)})"
    if isinstance(node, Negate):
        return _wrap(f"-{_render(node.value, _ATOM)}", level > _SUM)
    return _wrap(_operation(node), level > (_SUM if isinstance(node, Add) else _TERM))


def _operation(node: Add | Product | At) -> str:
    if isinstance(node, Product):
        return f"{_render(node.left, _TERM)}*{_render(node.right, _ATOM)}"
    if isinstance(node, At):
        return f"{_render(node.value, _TERM)}@{_render(node.blocks, _ATOM)}"
    if isinstance(node.right, Negate):
        return f"{_render(node.left, _SUM)} - {_render(node.right.value, _TERM)}"
    return f"{_render(node.left, _SUM)} + {_render(node.right, _TERM)}"


def _wrap(text: str, needed: bool) -> str:
    return f"({text})" if needed else text
