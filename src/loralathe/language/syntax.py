"""The untyped graph of a formula: what was written, with the place where it was written."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Union

from loralathe.errors import visible


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


def plain_name(name: str) -> str:
    """A name as formulas have it: Python's parser, which reads them, normalises names (PEP 3131)."""
    return unicodedata.normalize("NFKC", visible(name))


def children(node: Node) -> tuple[Node, ...]:
    """The operands of a node in reading order, the right side of `@` left out."""
    if isinstance(node, (Negate, At)):
        return (node.value,)
    if isinstance(node, (Add, Product)):
        return (node.left, node.right)
    if isinstance(node, Call):
        return (*node.args, *(value for _, value in node.kwargs))
    return ()


def depth(node: Node) -> int:
    """Levels of a formula; a name and a number have 0, and a sum of n terms n - 1."""
    return max((1 + depth(child) for child in children(node)), default=0)


def value_names(node: Node) -> Iterator[Name]:
    """Names used as values or called, in reading order."""
    if isinstance(node, Name):
        yield node
    if isinstance(node, Call):
        yield Name(node.function, node.at)
    for child in children(node):
        yield from value_names(child)


_SUM, _TERM, _ATOM = 0, 1, 2
"""How tightly the parts of a formula bind."""


def render(node: Node, level: int = _SUM) -> str:
    """The formula as text again, normalised; `parse_expression(render(n)) == n`.

    level: what stands around it; looser operations get parentheses.
    """
    if isinstance(node, Name):
        return node.id
    if isinstance(node, Text):
        return repr(node.value)
    if isinstance(node, Call):
        parts = [render(arg) for arg in node.args]
        parts += [f"{key}={render(value)}" for key, value in node.kwargs]
        return f"{node.function}({', '.join(parts)})"
    own = _SUM
    if isinstance(node, Number):
        text, own = repr(node.value).removesuffix(".0"), _SUM if node.value < 0 else _ATOM
    elif isinstance(node, Negate):
        text = f"-{render(node.value, _ATOM)}"
    elif isinstance(node, Product):
        text, own = f"{render(node.left, _TERM)}*{render(node.right, _ATOM)}", _TERM
    elif isinstance(node, At):
        text, own = f"{render(node.value, _TERM)}@{render(node.blocks, _ATOM)}", _TERM
    elif isinstance(node.right, Negate):
        text = f"{render(node.left)} - {render(node.right.value, _TERM)}"
    else:
        text = f"{render(node.left)} + {render(node.right, _TERM)}"
    return f"({text})" if level > own else text
