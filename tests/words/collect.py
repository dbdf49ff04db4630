"""The texts of the source that people may see, as templates: `{1} needs {2}`, a number for every value."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

HOLE = "\0"
WORDS = re.compile(r"[^\W\d_A-Z][^\W\d_]")
NOT_SHOWN = frozenset({
    "AssertionError", "AttributeError", "IndexError", "KeyError", "NotImplementedError", "RuntimeError",
    "TypeError", "TypeVar", "ValueError", "cast", "compile", "encode", "endswith", "execute", "executemany",
    "executescript", "finditer", "fullmatch", "getattr", "match", "partition", "search", "split",
    "startswith", "sub", "warning",
})  # fmt: skip
"""Functions whose texts are patterns, names, SQL, or for programmers."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """(line, template) of every text in a file that has words."""
    tree = ast.parse(path.read_text("utf-8"))
    for line, text in _visit(tree):
        if " " in text and WORDS.search(re.sub(r"\{\d+\}", "", text)):
            yield line, text


def _visit(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        if isinstance(node.func.value, ast.Constant):
            yield node.lineno, numbered(str(node.func.value.value).replace("{}", HOLE))
        for argument in node.args:
            yield from _visit(argument)
        return
    if isinstance(node, ast.expr) and _is_text(node):
        for pieces in _alternatives(node):
            yield node.lineno, numbered("".join(pieces))
        for inner in _holes(node):
            yield from _visit(inner)
        return
    for child in ast.iter_child_nodes(node):
        if not _is_skipped(node, child):
            yield from _visit(child)


def _is_skipped(node: ast.AST, child: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(child, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name in NOT_SHOWN and child is not node.func
    if isinstance(node, (ast.Assert, ast.Compare, ast.Subscript)):
        return isinstance(child, (ast.Constant, ast.JoinedStr))
    return isinstance(node, ast.AnnAssign) and child is node.annotation


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and (_is_text(node.left) or _is_text(node.right))
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) or _is_text(node.orelse)
    return isinstance(node, ast.JoinedStr)


def _alternatives(node: ast.expr) -> list[list[str]]:
    """What the text may be; a condition in it gives both branches."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [[node.value.replace("{", "{{").replace("}", "}}")]]
    if isinstance(node, ast.IfExp) and _is_text(node):
        return _alternatives(node.body) + _alternatives(node.orelse)
    if isinstance(node, ast.FormattedValue):
        return _alternatives(node.value) if isinstance(node.value, (ast.IfExp, ast.Constant)) else [[HOLE]]
    parts: list[ast.expr] = []
    if isinstance(node, ast.JoinedStr):
        parts = node.values
    elif isinstance(node, ast.BinOp) and _is_text(node):
        parts = [node.left, node.right]
    if not parts:
        return [[HOLE]]
    return [[piece for one in chosen for piece in one] for chosen in product(*map(_alternatives, parts))]


def _holes(node: ast.expr) -> Iterator[ast.AST]:
    """Expressions whose values are put into the text."""
    if isinstance(node, ast.Constant):
        return
    if isinstance(node, ast.IfExp):
        yield node.test
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FormattedValue):
            if isinstance(child.value, (ast.IfExp, ast.Constant)):
                yield from _holes(child.value)
            else:
                yield child.value
        elif isinstance(child, ast.expr) and child is not getattr(node, "test", None):
            if _is_text(child):
                yield from _holes(child)
            else:
                yield child


def numbered(text: str) -> str:
    """Holes as {1}, {2}, …, those side by side as one."""
    parts = re.split(f"{HOLE}+", text)
    return parts[0] + "".join(f"{{{number}}}{part}" for number, part in enumerate(parts[1:], 1))


def constants(path: Path) -> Iterator[str]:
    """Every text of a file as it is written, parts of longer ones too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
