"""Formula text to graph, with Python's own `ast` module and a whitelist; nothing is ever evaluated."""

from __future__ import annotations

import ast
import math
import re

from loralathe.errors import InputError, spelling_hint, visible
from loralathe.language.syntax import Add, At, Call, Name, Negate, Node, Number, Product, Text
from loralathe.strengths import looks_like_number

MAX_LENGTH = 20_000
MAX_DEPTH = 60

_TAG = re.compile(r"<\s*(lora|lyco)\s*[:：]", re.IGNORECASE)
_PRIME = re.compile(r"\w'")
_REFUSED: dict[type[ast.AST], str] = {
    ast.Div: "division is not part of the language; multiply instead: 0.5*x",
    ast.Pow: "powers are not part of the language",
    ast.Attribute: "names with a dot are not part of the language",
    ast.Subscript: "square brackets are not part of the language; block weights are attached with '@'",
    ast.Tuple: "a comma separates arguments of a call and nothing else; decimals take a point: 0.7",
    ast.Lambda: "formulas cannot define functions",
    ast.Compare: "comparisons are not part of the language",
}


def parse_expression(text: str, where: str = "formula") -> Node:
    """Parse a formula such as `"B1 - M*(B - A)"`.

    `where` names the formula in errors. Raises InputError with the position for anything outside the
    grammar: + and -, * by numbers, @ with block weights, parentheses, names, calls, numbers, quoted texts.
    """
    text = visible(text)
    if not text.strip():
        raise InputError("the formula is empty", where=where, fix='write one, e.g. "A + 0.7*lora"')
    if len(text) > MAX_LENGTH or _bracket_depth(text) > MAX_DEPTH:
        raise InputError(
            f"the formula is too long or nested too deeply ({len(text)} characters)",
            where=where,
            fix="split it into named steps of a recipe",
        )
    stripped = text.strip().replace("\n", " ").replace("\r", " ")
    try:
        tree = ast.parse(stripped, mode="eval")
    except SyntaxError as error:
        column = min((error.offset or 1) - 1, len(stripped))
        unclosed = "was never closed" in error.msg
        what = "this bracket is never closed" if unclosed else "the formula cannot be read here"
        raise _refusal(stripped, column, what, where) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"the formula cannot be read: {error}", where=where) from None
    return _Reader(stripped, where).read(tree.body, 0)


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return max(deepest, text.count("--"))


def _refusal(text: str, column: int, what: str, where: str, fix: str = "") -> InputError:
    return InputError(
        what,
        where=f"{where}, character {column + 1}\n    {text}\n    {' ' * column}^",
        fix=fix
        or _respelt(text)
        or "allowed: + - * @ ( ), numbers, names, quoted block lists, calls such as extract(x, rank=64)",
    )


def _respelt(text: str) -> str | None:
    """What to write instead of what people bring along from elsewhere."""
    if _TAG.search(text):
        return "a tag belongs in a prompt; here it is 0.7*hina@OUTALL, and hina=hina.safetensors after it"
    plain = text.replace("′", "'").replace("’", "'")
    if _PRIME.search(plain) and plain.count("'") % 2:
        return "names are made of letters, digits and _: B1, not B'"
    return spelling_hint(text)


class _Reader:
    """Turns Python's tree into ours, refusing what is not in the language."""

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self.bytes = text.encode()
        self.where = where

    def column(self, node: ast.expr) -> int:
        """`ast` counts UTF-8 bytes; people count characters."""
        return len(self.bytes[: node.col_offset].decode(errors="ignore"))

    def refuse(self, node: ast.expr, what: str) -> InputError:
        return _refusal(self.text, self.column(node), what, self.where)

    def read(self, node: ast.expr, depth: int) -> Node:
        if depth > MAX_DEPTH * 6:  # each level takes two calls, of the thousand that Python nests
            raise self.refuse(node, "the formula is nested too deeply here")
        if isinstance(node, ast.Constant):
            return self.constant(node)
        if isinstance(node, ast.Name):
            return Name(node.id, self.column(node))
        if isinstance(node, ast.UnaryOp):
            return self.unary(node, depth)
        if isinstance(node, ast.BinOp):
            return self.binary(node, depth)
        if isinstance(node, ast.Call):
            return self.call(node, depth)
        raise self.refuse(node, _REFUSED.get(type(node), "this is not part of the language"))

    def constant(self, node: ast.Constant) -> Node:
        value = node.value
        if isinstance(value, str):
            return Text(value, self.column(node))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(node, "only numbers and quoted texts can stand here")
        written = ast.get_source_segment(self.text, node) or ""
        if not looks_like_number(written):
            raise _refusal(
                self.text,
                self.column(node),
                f"'{written}' is not a number",
                self.where,
                f"write {value:g}, in digits with at most one decimal point",
            )
        number = float(value) if abs(value) < 1e300 else math.inf
        if not math.isfinite(number):
            raise self.refuse(node, "this number is too large")
        return Number(number, self.column(node))

    def unary(self, node: ast.UnaryOp, depth: int) -> Node:
        value = self.read(node.operand, depth + 1)
        if isinstance(node.op, ast.UAdd):
            return value
        if isinstance(node.op, ast.USub):
            if isinstance(value, Number):
                return Number(-value.value, self.column(node))
            return Negate(value, self.column(node))
        raise self.refuse(node, "this operator is not part of the language")

    def binary(self, node: ast.BinOp, depth: int) -> Node:
        left = self.read(node.left, depth + 1)
        right = self.read(node.right, depth + 1)
        column = self.column(node)
        if isinstance(node.op, ast.Add):
            return Add(left, right, column)
        if isinstance(node.op, ast.Sub):
            return Add(left, Negate(right, self.column(node.right)), column)
        if isinstance(node.op, ast.Mult):
            return Product(left, right, column)
        if isinstance(node.op, ast.MatMult):
            if not isinstance(right, (Name, Text)):
                raise self.refuse(
                    node.right, "on the right of '@' belongs a block list: a name or a quoted list"
                )
            return At(left, right, column)
        raise self.refuse(
            node.right, _REFUSED.get(type(node.op), "this operator is not part of the language")
        )

    def call(self, node: ast.Call, depth: int) -> Node:
        if not isinstance(node.func, ast.Name):
            raise self.refuse(node, "only functions of the language and adapters can be called")
        if any(isinstance(arg, ast.Starred) for arg in node.args):
            raise self.refuse(node, "'*' arguments are not part of the language")
        args = tuple(self.read(arg, depth + 1) for arg in node.args)
        kwargs: list[tuple[str, Node]] = []
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.refuse(node, "'**' arguments are not part of the language")
            kwargs.append((keyword.arg, self.argument(keyword.value, depth + 1)))
        return Call(node.func.id, args, tuple(kwargs), self.column(node))

    def argument(self, node: ast.expr, depth: int) -> Node:
        """A keyword's value may also be True or False, read as 1 and 0."""
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            return Number(float(node.value), self.column(node))
        return self.read(node, depth)
