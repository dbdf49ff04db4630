"""A prompt's text: `(text:1.3)`, `((text))`, `[text]` and BREAK as weighted text, cut into chunks of 77 ids.

The grammar is A1111's. Fixed here: BREAK works inside brackets; a lone backslash stays; `(a:1.2.3)` is text
with a remark. A remark (`Issue`) says what is odd and where; the rest of the prompt is not affected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from loralathe.errors import readable
from loralathe.families import Padding

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
    import numpy as np

    found: list[str | None] = []
    weights = np.ones(2 * len(prompt) + 1)  # an array, because thousands of brackets may be nested
    opened: dict[str, list[int]] = {"(": [], "[": []}
    issues: list[Issue] = []

    def scale_from(start: int, factor: float) -> None:
        with np.errstate(all="ignore"):
            weights[start : len(found)] *= factor

    for match in _TOKEN.finditer(prompt):
        token = match.group()
        if match["escaped"]:
            found.append(token[1])
        elif match["round"] or match["square"]:
            opened[token].append(len(found))
        elif match["weight"] and opened["("]:
            start = opened["("].pop()
            if _NUMBER.match(match["weight"]):
                scale_from(start, float(match["weight"]))
            else:
                issues.append(issue_at(prompt, match.start(), f"'{match['weight']}' is not a number"))
                found.append(token[:-1])
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
    return _joined(map(WeightedText, found, weights.tolist())), issues


def _append_text(found: list[str | None], text: str) -> None:
    for number, part in enumerate(_BREAK.split(text)):
        if number:
            found.append(BREAK.text)
        if part:
            found.append(part)


def _joined(found: Iterable[WeightedText]) -> list[WeightedText]:
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


START, END, COMMA = 49406, 49407, 267
"""Ids of CLIP's byte-pair vocabulary (49,408 entries), the same in every CLIP text encoder."""

Unit: TypeAlias = int | tuple[int, ...]
"""A token, or the vectors of an embedding, which stay in one chunk."""
TOKENS = 75
"""Of a chunk, without start and end."""
BACKTRACK = 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Up to 75 token ids with their weights; `ids` and `row_weights` give the full row of 77."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]

    def ids(self, padding: Padding) -> list[int]:
        pad = END if padding == "end" else 0
        return [START, *self.tokens, END, *[pad] * (TOKENS - len(self.tokens))]

    def row_weights(self) -> list[float]:
        return [1.0, *self.weights, 1.0, *[1.0] * (TOKENS - len(self.tokens))]


@dataclass(slots=True)
class _Open:
    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    after_comma: int | None = None

    def add(self, token: int, weight: float) -> None:
        self.tokens.append(token)
        self.weights.append(weight)
        if token == COMMA:
            self.after_comma = len(self.tokens)

    def close(self) -> Chunk:
        return Chunk(tuple(self.tokens), tuple(self.weights))


def cut_chunks(pieces: Sequence[WeightedText], encode: Callable[[str], Sequence[Unit]]) -> tuple[Chunk, ...]:
    """Cut `pieces` as A1111 does into chunks of start, 75 tokens, end; at least one. BREAK ends a chunk.

    When the 76th token is not a comma and a comma stands among the last 20, everything after that comma moves
    to the next chunk. `encode` gives a text's ids without start and end.
    """
    done: list[Chunk] = []
    current = _Open()
    for piece in pieces:
        if piece.text is None:
            done.append(current.close())
            current = _Open()
            continue
        for unit in encode(piece.text):
            if isinstance(unit, tuple):
                if len(current.tokens) + len(unit) > TOKENS:
                    done.append(current.close())
                    current = _Open()
                for vector in unit:
                    current.add(vector, piece.weight)
                continue
            token = unit
            if len(current.tokens) == TOKENS:
                current = _overflow(current, token, done)
            current.add(token, piece.weight)
    if current.tokens or not done:
        done.append(current.close())
    return tuple(done)


def _overflow(full: _Open, token: int, done: list[Chunk]) -> _Open:
    """Close a full chunk; what stands after its last near comma opens the next one."""
    following = _Open()
    cut = full.after_comma
    if token != COMMA and cut is not None and TOKENS - (cut - 1) <= BACKTRACK:
        for moved in range(cut, TOKENS):
            following.add(full.tokens[moved], full.weights[moved])
        full.tokens, full.weights = full.tokens[:cut], full.weights[:cut]
    done.append(full.close())
    return following
