"""Text with wide characters: how many columns it takes, and where a line of it may end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import east_asian_width

_WIDE_CLOSING = "，。、；：！？）」』》…"
_CLOSING = _WIDE_CLOSING + ",.;:!?)"
_OPENING = "（「『《("
_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60\u3000-\u303f"
_PIECE = re.compile(
    rf"(\s*)([{re.escape(_OPENING)}]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[{re.escape(_CLOSING)}]*)", re.DOTALL
)
"""A word, or a wide character with its marks, and the space before it."""

_PARTICLES = "的了與和或在就也都才會請用把以及是個"
"""Characters that end a word, nearly always."""
SLACK = 0.3
"""How much of a line may stay empty for it to end at a better place."""
SHORTEST = 8
"""Columns of the last line."""
SET_IN = "    "
_TO_COPY = re.compile(r"\s*\S+[:：]\s*lathe ")


def cells(text: str) -> int:
    """Columns of a terminal that the text takes: wide characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, ended between words or between wide characters.

    Chinese has no space between words: a line ends after a mark or a particle where one is near its end, and
    the last one is no character or two.
    """
    if cells(text) <= width:
        return [text]
    lines: list[list[Piece]] = [[]]
    for space, word in _PIECE.findall(text):
        piece = Piece(space, word) if lines[-1] else Piece("", space + word)
        longer = [*lines[-1], piece]
        if cells(_shown(longer)) <= width:
            lines[-1] = longer
        elif cells(word) > width:
            lines[-1:] = [[Piece("", part)] for part in _cut(_shown(longer), width)]
        else:
            end = _best_end(longer, round(width * (1 - SLACK)))
            lines[-1:] = [longer[:end], longer[end:]]
    return [_shown(line) for line in _without_short_end(lines)]


def folded(text: str, width: int) -> str:
    """A note or an error on a terminal: what goes on is set in, and a command to copy stays whole."""
    lines: list[str] = []
    for line in text.split("\n"):
        if cells(line) <= width or _TO_COPY.match(line):
            lines.append(line)
            continue
        first = wrapped(line, width)[0]
        rest = line[len(first) :].lstrip()
        lines += [first, *(SET_IN + part for part in wrapped(rest, max(width - len(SET_IN), 20)))]
    return "\n".join(lines)


class Piece(NamedTuple):
    """What stays together on a line, and the space before it, which is not shown where a line begins."""

    space: str
    word: str


def _shown(line: Sequence[Piece]) -> str:
    return "".join(piece.space * (number > 0) + piece.word for number, piece in enumerate(line))


def _best_end(line: Sequence[Piece], least: int) -> int:
    """After how many pieces a line should end whose last one goes beyond it; it keeps that many columns."""
    ends = [end for end in range(len(line) - 1, 0, -1) if cells(_shown(line[:end])) >= least]
    return _first_good(line, ends, len(line) - 1)


def _first_good(line: Sequence[Piece], ends: Sequence[int], otherwise: int) -> int:
    """The first of the ends that is after a mark or a space, else after a particle."""
    for is_good in (_after_a_mark, _after_a_particle):
        for end in ends:
            if is_good(line[end - 1], line[end]):
                return end
    return otherwise


def _after_a_mark(piece: Piece, following: Piece) -> bool:
    return piece.word[-1] in _WIDE_CLOSING or following.space != ""


def _after_a_particle(piece: Piece, following: Piece) -> bool:
    return piece.word[-1] in _PARTICLES or _is_wide(piece) != _is_wide(following)


def _is_wide(piece: Piece) -> bool:
    return cells(piece.word) > len(piece.word)


def _without_short_end(lines: list[list[Piece]]) -> list[list[Piece]]:
    """The last line of Chinese takes some of the line before, if it is very short."""
    last = lines[-1]
    if len(lines) == 1 or cells(_shown(last)) >= SHORTEST or not any(map(_is_wide, last)):
        return lines
    both = [*lines[-2], *last]
    ends = [end for end in range(len(lines[-2]) - 1, 0, -1) if cells(_shown(both[end:])) >= SHORTEST]
    end = _first_good(both, ends[:SHORTEST], ends[0] if ends else len(lines[-2]))
    return [*lines[:-2], both[:end], both[end:]]


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
