"""Facts and tables as plain aligned lines.

Written out rather than as rich's tables, so that no line ends in spaces and copies read well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

LABEL = 10
"""Least width of the labels, so that sections below each other line up."""
INDENT = "  "
GAP = "   "


class Facts:
    """Labels and values in two aligned columns; a long value continues below itself."""

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        self.rows = tuple(rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.cells import cell_len
        from rich.text import Text

        width = max([LABEL, *(cell_len(label) for label, _ in self.rows)])
        room = max(20, options.max_width - width - 4)
        for label, value in self.rows:
            for number, part in enumerate(_lines(value, room)):
                name = label if number == 0 else ""
                padding = " " * (width - cell_len(name) + 2)
                yield Text.assemble(INDENT, (name, "dim"), padding, part)


def _lines(value: str, room: int) -> list[str]:
    """Values that lay themselves out, with leading or double spaces, are left alone."""
    return [value] if len(value) <= room else wrap(value, room, break_on_hyphens=False) or [""]


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
        from rich.cells import cell_len
        from rich.text import Text

        everything = [self.names, *self.rows, *([self.total] if self.total else [])]
        widths = [max(map(cell_len, column)) for column in zip(*everything, strict=True)]
        gap = GAP
        if len(INDENT) + sum(widths) + len(GAP) * (len(widths) - 1) > options.max_width:
            gap = GAP[1:]
        rule = INDENT + "─" * (sum(widths) + len(gap) * (len(widths) - 1))

        def line(cells: Sequence[str], style: str) -> Text:
            padded = []
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
                space = " " * (width - cell_len(cell))
                padded.append(cell + space if number == 0 else space + cell)
            return Text((INDENT + gap.join(padded)).rstrip(), style=style, no_wrap=True)

        yield line(self.names, "bold")
        yield Text(rule, style="dim", no_wrap=True)
        for row in self.rows:
            yield line(row, "")
        if self.total:
            yield Text(rule, style="dim", no_wrap=True)
            yield line(self.total, "bold")
