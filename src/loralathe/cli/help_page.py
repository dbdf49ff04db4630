"""Help pages in the person's language; wide characters line up.

English pages are click's own. Others are written here, since click counts characters and not columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import click

from loralathe.cli.language import ENGLISH, say, say_placeholder, spoken
from loralathe.cli.wide import cells, wrapped

_AS_IT_IS = "\b"
"""In the first line of a paragraph, to click: the lines stay as they are."""
_LAID_OUT = re.compile(r"(\s*\S.*?)(\s{2,})(\S.*)")


class HelpPage(click.HelpFormatter):
    """What click writes a help page with."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        if spoken() == ENGLISH:
            super().write_usage(prog, args, prefix)
            return
        start = f"{say('Usage:')}{prog} "
        lines = wrapped(_placeholders(args), self.width - cells(start)) if args else [""]
        for number, line in enumerate(lines):
            self.write(f"{start if number == 0 else ' ' * cells(start)}{line}".rstrip() + "\n")

    def write_heading(self, heading: str) -> None:
        if spoken() == ENGLISH:
            super().write_heading(heading)
        else:
            self.write(f"{' ' * self.current_indent}{say(heading)}：\n")

    def write_text(self, text: str) -> None:
        if spoken() == ENGLISH:
            super().write_text(text)
            return
        indent = " " * self.current_indent
        paragraphs = ("\n".join(self._paragraph(one)) for one in re.split(r"\n\s*\n", text.strip("\n")))
        self.write("\n".join(indent * bool(line) + line for line in "\n\n".join(paragraphs).split("\n")))
        self.write("\n")

    def _paragraph(self, text: str) -> Iterator[str]:
        width = self.width - self.current_indent
        for unit in units(text):
            if unit.startswith(" ") or _LAID_OUT.fullmatch(unit):
                yield _laid_out(unit)
            else:
                yield from wrapped(say(unit), width)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        if spoken() == ENGLISH:
            super().write_dl(rows, col_max, col_spacing)
            return
        said = [(_placeholders(first), _explained(second)) for first, second in rows]
        left = min(max(cells(first) for first, _ in said), col_max) + col_spacing
        indent = " " * self.current_indent
        for first, second in said:
            fits = cells(first) <= left - col_spacing
            lines = [*([] if fits else [""]), *wrapped(second, max(self.width - left - 2, 10))]
            self.write(f"{indent}{first}{' ' * (left - cells(first)) * fits}{lines[0]}".rstrip() + "\n")
            for line in lines[1:]:
                self.write(f"{indent}{' ' * left}{line}".rstrip() + "\n")


class PageContext(click.Context):
    """A command's context, whose help is a `HelpPage`."""

    formatter_class = HelpPage


def units(paragraph: str) -> Iterator[str]:
    """What of a help text is translated as one: the lines of prose together, each line that is laid out."""
    lines = paragraph.split("\n")
    if lines[0].strip() != _AS_IT_IS:
        yield " ".join(line.strip() for line in lines)
        return
    prose: list[str] = []
    for line in lines[1:]:
        if line.startswith(" ") or _LAID_OUT.fullmatch(line):
            if prose:
                yield " ".join(prose)
            prose = []
            yield line
        else:
            prose.append(line)
    if prose:
        yield " ".join(prose)


def _laid_out(line: str) -> str:
    """A line of two columns, the second where it was; an example stays as it is."""
    match = _LAID_OUT.fullmatch(line)
    if match is None:
        return line
    label, gap, rest = match.groups()
    first = label[: len(label) - len(label.lstrip())] + say(label.strip())
    return first + " " * max(2, cells(label + gap) - cells(first)) + say(rest)


def _placeholders(text: str) -> str:
    """`-o, --output FILE`: what stands for a value beside names, which stay."""
    return " ".join(map(say_placeholder, text.split(" ")))


def _explained(text: str) -> str:
    """What an option does; click adds in brackets what it demands: `Share of B.  [required]`."""
    main, bracket, demands = text.partition("  [")
    return say(main) + bracket + (say(demands.removesuffix("]")) + "]" if bracket else "")
