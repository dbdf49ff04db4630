"""A prompt's text: `(text:1.3)`, `((text))`, `[text]` and BREAK as pieces with weights, and remarks on it.

The grammar is A1111's. Fixed here: BREAK works inside brackets; a lone backslash stays; `(a:1.2.3)` is text
with a remark. A remark (`Issue`) says what is odd and where; the rest of the prompt is not affected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from loralathe.errors import readable

EXCERPT = 24
SHOWN = 10
"""How many remarks are shown: more of them are one mistake made again and again."""

ROUND = 1.1
SQUARE = 1 / 1.1

_TOKEN = re.compile(
    r"""(?P<escaped>\\[()\[\]\\:|])
      | (?P<round>\()
      | (?P<square>\[)
      | :[ \t]*(?P<weight>[+-]?[.\d]+)[ \t]*\)
      | (?P<closed>\))
      | (?P<shut>\])
      | (?P<text>[^\\()\[\]:]+|[\\:])""",
    re.VERBOSE,
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)\Z")


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that probably was not meant. `position` counts characters of the prompt it was found in."""

    position: int
    message: str
    excerpt: str = ""

    def __str__(self) -> str:
        near = f" (near '{self.excerpt}')" if self.excerpt else ""
        return f"prompt, character {self.position + 1}: {self.message}{near}"


def told(issues: Iterable[Issue]) -> list[str]:
    """A line for each different issue, and how many there are beyond SHOWN."""
    lines = list(dict.fromkeys(readable(str(issue)) for issue in issues))
    rest = len(lines) - SHOWN
    return lines[:SHOWN] + ([f"and {rest} more remarks on the prompt"] if rest > 0 else [])


def issue_at(text: str, position: int, message: str) -> Issue:
    """An Issue with the text around its place."""
    return Issue(position, message, text[position : position + EXCERPT])


@dataclass(frozen=True, slots=True)
class WeightedText:
    """Text with one weight; `text` None is a BREAK."""

    text: str | None
    weight: float = 1.0


BREAK = WeightedText(None)


def parse_emphasis(prompt: str) -> tuple[list[WeightedText], list[Issue]]:
    """`prompt` in order, neighbours of one weight joined; an issue where a weight is not a number."""
    found: list[WeightedText] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    issues: list[Issue] = []

    def scale_from(start: int, factor: float) -> None:
        found[start:] = [WeightedText(piece.text, piece.weight * factor) for piece in found[start:]]

    for match in _TOKEN.finditer(prompt):
        token = match.group()
        if match["escaped"]:
            found.append(WeightedText(token[1]))
        elif match["round"] or match["square"]:
            opened[token].append(len(found))
        elif match["weight"] and opened["("]:
            start = opened["("].pop()
            if _NUMBER.match(match["weight"]):
                scale_from(start, float(match["weight"]))
            else:
                issues.append(issue_at(prompt, match.start(), f"'{match['weight']}' is not a number"))
                found.append(WeightedText(token[:-1]))
                scale_from(start, ROUND)
        elif match["closed"] and opened["("]:
            scale_from(opened["("].pop(), ROUND)
        elif match["shut"] and opened["["]:
            scale_from(opened["["].pop(), SQUARE)
        else:
            _append_text(found, token)
    for start in opened["("]:
        scale_from(start, ROUND)
    for start in opened["["]:
        scale_from(start, SQUARE)
    return _joined(found), issues


def _append_text(found: list[WeightedText], text: str) -> None:
    for number, part in enumerate(_BREAK.split(text)):
        if number:
            found.append(BREAK)
        if part:
            found.append(WeightedText(part))


def _joined(found: list[WeightedText]) -> list[WeightedText]:
    pieces: list[WeightedText] = []
    for piece in found:
        last = pieces[-1] if pieces else None
        if piece.text is None:
            pieces.append(BREAK)
        elif last is not None and last.text is not None and last.weight == piece.weight:
            pieces[-1] = WeightedText(last.text + piece.text, last.weight)
        else:
            pieces.append(piece)
    return pieces or [WeightedText("")]
