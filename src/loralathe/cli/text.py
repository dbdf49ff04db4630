"""Plain text and JSON: numbers and lists as people read them, aligned lines, reports as JSON.

Tables are written out rather than as rich's tables, so that no line ends in spaces and copies read well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe import json_text, percentage
from loralathe.cli.language import ENGLISH, Data, say, say_after, say_label, spoken
from loralathe.cli.wide import cells, wrapped

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")
COUNT_UNITS = ("", " thousand", " million", " billion")
CHINESE_COUNT_UNITS = ("", " 萬", " 億")
DTYPES = {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64"}


def size(count: float) -> str:
    """`6.94 GB`: bytes in powers of 1000, as disks are sold."""
    for unit in BYTE_UNITS:
        if count < 999.5 or unit == BYTE_UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000.0
    raise AssertionError


def amount(count: float) -> str:
    """`3.47 billion`; in Chinese, which counts in ten thousands, `34.7 億`."""
    step, units = (1000.0, COUNT_UNITS) if spoken() == ENGLISH else (10000.0, CHINESE_COUNT_UNITS)
    for unit in units:
        if count < step - 0.5 or unit == units[-1]:
            return f"{count:.3g}{unit}" if unit and count < 99.5 else f"{count:.0f}{unit}"
        count /= step
    raise AssertionError


def figures(value: float, digits: int = 3) -> str:
    """`0.0140`, `8.24`, `102`: so many significant digits, zeros at the end kept."""
    return f"{value:#.{digits}g}".removesuffix(".")


def duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3 min 5 s`, `2 h 10 min`; in Chinese `3 分 5 秒`."""
    second, minute, hour = ("s", "min", "h") if spoken() == ENGLISH else ("秒", "分", "小時")
    if seconds < 9.95:
        return f"{seconds:.1f} {second}"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} {second}"
    if whole < 3600:
        return f"{whole // 60} {minute} {whole % 60} {second}"
    return f"{whole // 3600} {hour} {whole % 3600 // 60} {minute}"


def percent(share: float) -> str:
    """`99.87`, `<0.01`, and `–` for nothing; of a share in [0, 1], without the sign."""
    if share <= 0.0:
        return "–"
    return "<0.01" if share < 5e-5 else f"{100 * share:.2f}"


def signed_percent(share: float | None) -> str:
    """`99.87 %`, `100.00 %`, `-3.21 %`, `1,024 %`; None where nothing is added that could be held."""
    if share is None:
        return "nothing added"
    value = 100.0 * share
    return percentage(share, 2) if abs(value) < 999.5 else f"{value:,.0f} %"


def dtype_name(name: str) -> str:
    """`F16` → `fp16`; names without a common other word stay."""
    return DTYPES.get(name, name)


def dtype_shares(parameters: Mapping[str, int]) -> str:
    """`fp16`, `fp16 96 %, fp32 4 %`, or `fp16, 77 stored as I64` where the rest is next to nothing."""
    total = sum(parameters.values()) or 1
    large = {name: count for name, count in parameters.items() if count / total >= 0.005}
    shares = [f"{dtype_name(name)} {percentage(count / total)}" for name, count in large.items()]
    main = [dtype_name(next(iter(large)))] if len(large) == 1 else shares
    small = [
        f"{count:,} stored as {dtype_name(name)}"
        for name, count in parameters.items()
        if count and name not in large
    ]
    return ", ".join([*main, *small])


def counts(parts: Iterable[tuple[int, str]]) -> str:
    """`722 changed · 1793 copied`, zeros left out."""
    return " · ".join(f"{count} {word}" for count, word in parts if count) or "none"


LABEL = 10
"""Least width of the labels, so that sections below each other line up."""
INDENT = "  "
GAP = "   "


def one_line(text: str) -> str:
    """A name as a cell of a table, whatever it holds."""
    return text.replace("\n", "\\n")


class Facts:
    """Labels and values in two aligned columns; a long value continues below itself."""

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        self.rows = tuple(rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        rows = [(one_line(say_label(label)), say(value)) for label, value in self.rows]
        width = max([LABEL, *(cells(label) for label, _ in rows)])
        room = max(20, options.max_width - width - 4)
        for label, value in rows:
            for number, part in enumerate(wrapped(value, room)):
                name = label if number == 0 else ""
                padding = " " * (width - cells(name) + 2)
                yield Text.assemble(INDENT, (name, "dim"), padding, part)


class Columns:
    """Right-aligned numbers under their names, the first column to the left; a total under a rule.

    Columns move together where the terminal is narrow.
    """

    def __init__(
        self, names: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None
    ) -> None:
        self.names = names
        self.rows = rows
        self.total = total

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        names, total = (
            [say_label(name) for name in self.names],
            [say_label(cell) for cell in self.total or ()],
        )
        body = [[one_line(one) for one in (say_label(first), *map(say, rest))] for first, *rest in self.rows]
        columns = zip(names, *body, *([total] if total else []), strict=True)
        widths = [max(map(cells, column)) for column in columns]
        gap = GAP
        if len(INDENT) + sum(widths) + len(GAP) * (len(widths) - 1) > options.max_width:
            gap = GAP[1:]
        rule = INDENT + "─" * (sum(widths) + len(gap) * (len(widths) - 1))

        def line(row: Sequence[str], style: str) -> Text:
            padded = []
            for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
                space = " " * (width - cells(cell))
                padded.append(cell + space if number == 0 else space + cell)
            return Text((INDENT + gap.join(padded)).rstrip(), style=style, no_wrap=True)

        yield line(names, "bold")
        yield Text(rule, style="dim", no_wrap=True)
        for row in body:
            yield line(row, "")
        if total:
            yield Text(rule, style="dim", no_wrap=True)
            yield line(total, "bold")


def legend(meanings: Mapping[str, str]) -> Facts:
    """What the columns of the table above say, a line for each."""
    texts = [Data(say_after(say_label(name), say(meaning))) for name, meaning in meanings.items()]
    return Facts([("columns" if number == 0 else "", text) for number, text in enumerate(texts)])


def laid_out(meanings: Mapping[str, str], indent: str = "") -> str:
    """The same, for a help page."""
    width = max(map(len, meanings))
    return "\n".join(f"{indent}{name:<{width}}   {meaning}" for name, meaning in meanings.items())


Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def jsonable(value: object) -> Json:
    """Plain data for `json.dumps`; TypeError for what has no such form."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: jsonable(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    raise TypeError(f"no JSON for {type(value).__name__}")


def _key(key: object) -> str:
    return "none" if key is None else f"{key:g}" if isinstance(key, float) else str(key)


def json_line(event: str, **fields: object) -> str:
    """One event as a line of JSON."""
    record = {"event": event} | {name: jsonable(value) for name, value in fields.items()}
    return json_text(record)
