"""`(text:1.3)`, `((text))`, `[text]`, BREAK: a prompt as pieces with weights (A1111's grammar).

Fixed here: BREAK works inside brackets; a lone backslash stays; `(a:1.2.3)` is text with a warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from loralathe.rendering.prompts.issues import Issue, issue_at

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
class Piece:
    """Text with one weight; `text` None is a BREAK."""

    text: str | None
    weight: float = 1.0


BREAK = Piece(None)


@dataclass(slots=True)
class _Draft:
    text: str | None
    weight: float


def parse_emphasis(prompt: str) -> tuple[list[Piece], list[Issue]]:
    """Pieces of `prompt` in order, neighbours of one weight joined; issues where a weight is no number."""
    drafts: list[_Draft] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    issues: list[Issue] = []

    def scale_from(start: int, factor: float) -> None:
        for draft in drafts[start:]:
            draft.weight *= factor

    for match in _TOKEN.finditer(prompt):
        token = match.group()
        if match["escaped"]:
            drafts.append(_Draft(token[1], 1.0))
        elif match["round"] or match["square"]:
            opened[token].append(len(drafts))
        elif match["weight"] and opened["("]:
            start = opened["("].pop()
            if _NUMBER.match(match["weight"]):
                scale_from(start, float(match["weight"]))
            else:
                issues.append(issue_at(prompt, match.start(), f"'{match['weight']}' is no number"))
                drafts.append(_Draft(token[:-1], 1.0))
                scale_from(start, ROUND)
        elif match["closed"] and opened["("]:
            scale_from(opened["("].pop(), ROUND)
        elif match["shut"] and opened["["]:
            scale_from(opened["["].pop(), SQUARE)
        else:
            _append_text(drafts, token)
    for start in opened["("]:
        scale_from(start, ROUND)
    for start in opened["["]:
        scale_from(start, SQUARE)
    return _joined(drafts), issues


def _append_text(drafts: list[_Draft], text: str) -> None:
    for number, part in enumerate(_BREAK.split(text)):
        if number:
            drafts.append(_Draft(None, 1.0))
        if part:
            drafts.append(_Draft(part, 1.0))


def _joined(drafts: list[_Draft]) -> list[Piece]:
    pieces: list[Piece] = []
    for draft in drafts:
        last = pieces[-1] if pieces else None
        if draft.text is None:
            pieces.append(BREAK)
        elif last is not None and last.text is not None and last.weight == draft.weight:
            pieces[-1] = Piece(last.text + draft.text, last.weight)
        else:
            pieces.append(Piece(draft.text, draft.weight))
    return pieces or [Piece("", 1.0)]
