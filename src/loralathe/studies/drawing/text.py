"""Labels: wrapped to a width, measured, drawn."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from PIL import ImageDraw

from loralathe.studies.drawing.fonts import drawable, font_for


@dataclass(frozen=True, slots=True)
class Label:
    """Wrapped lines with their size in pixels; every line is `line` pixels high."""

    lines: tuple[str, ...]
    size: int
    width: int
    height: int
    line: int


def width_of(text: str, size: int) -> int:
    return round(font_for(text, size).getlength(text))


def make_label(text: str, size: int, width: int, max_lines: int = 6) -> Label:
    """`text` wrapped to `width` pixels: at blanks, after commas, between CJK characters,
    inside a word only when it must be.

    What does not fit in `max_lines` ends in an ellipsis; nothing is ever shrunk until it cannot be read.
    """
    lines: list[str] = []
    for paragraph in drawable(text).split("\n"):
        lines.extend(_wrap(paragraph, size, width))
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], _ellipsised(lines[max_lines - 1] + "…", size, width)]
    height = round(size * 1.3)
    return Label(
        tuple(lines),
        size,
        max((width_of(line, size) for line in lines), default=0),
        height * len(lines),
        height,
    )


def _wrap(text: str, size: int, width: int) -> list[str]:
    lines, current = [], ""
    for piece in _pieces(text):
        if width_of((current + piece).rstrip(), size) <= width:
            current += piece
            continue
        if current.strip():
            lines.append(current.rstrip())
        current = piece.lstrip()
        while width_of(current.rstrip(), size) > width and len(current) > 1:
            cut = _fitting(current, size, width)
            lines.append(current[:cut])
            current = current[cut:]
    return [*lines, current.rstrip()] if current.strip() or not lines else lines


def _pieces(text: str) -> list[str]:
    """Words and list entries with the blanks after them; every CJK character alone."""
    pieces: list[str] = []
    for character in text:
        if pieces and (character.isspace() or not _breaks(pieces[-1], character)):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def _breaks(before: str, character: str) -> bool:
    """Whether a line may break between a piece and the next character: after blanks, commas, around CJK."""
    last = before[-1]
    return last.isspace() or last == "," or _is_wide(last) or _is_wide(character)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _fitting(text: str, size: int, width: int) -> int:
    cut = len(text)
    while cut > 1 and width_of(text[:cut], size) > width:
        cut -= 1
    return cut


def _ellipsised(text: str, size: int, width: int) -> str:
    while len(text) > 1 and width_of(text, size) > width:
        text = text[:-2] + "…"
    return text


def draw_label(
    draw: ImageDraw.ImageDraw, label: Label, place: tuple[float, float], colour: str, align: str = "m"
) -> None:
    """Draw with its block centred on `place`'s height; `align` l, m or r says what its x is of each line."""
    x, y = place
    top = y - label.height / 2
    for index, line in enumerate(label.lines):
        middle = top + label.line * (index + 0.5)
        draw.text((x, middle), line, font=font_for(line, label.size), fill=colour, anchor=f"{align}m")
