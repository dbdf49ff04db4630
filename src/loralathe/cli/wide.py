"""Text with wide characters: how many columns it takes, and where a line of it may end."""

from __future__ import annotations

import re
from unicodedata import east_asian_width

_CLOSING = "，。、；：！？）」』》…,.;:!?)"
_OPENING = "（「『《("
_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60\u3000-\u303f"
_PIECE = re.compile(
    rf"(\s*)([{re.escape(_OPENING)}]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[{re.escape(_CLOSING)}]*)", re.DOTALL
)
"""What stays together on a line, and the space before it: a word, or a wide character with its marks."""


def cells(text: str) -> int:
    """Columns of a terminal that the text takes: wide characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, ended between words or between wide characters."""
    if cells(text) <= width:
        return [text]
    lines = [""]
    for space, piece in _PIECE.findall(text):
        longer = lines[-1] + space + piece if lines[-1] else piece
        if cells(longer) <= width:
            lines[-1] = longer
        elif cells(piece) <= width:
            lines.append(piece)
        else:
            lines[-1:] = _cut(longer, width)
    return lines


def _cut(text: str, width: int) -> list[str]:
    """A word that is longer than a line, cut where the line ends."""
    lines, taken = [""], 0
    for character in text:
        taken += cells(character)
        if taken > width:
            lines.append("")
            taken = cells(character)
        lines[-1] += character
    return lines
