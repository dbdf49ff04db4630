"""Weighted pieces → chunks of 77 token ids, cut as A1111 cuts them.

A chunk is start, 75 tokens, end. When the 76th token is not a comma and a comma stands among the last
20, everything after that comma moves to the next chunk. BREAK ends a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loralathe.families import Padding
from loralathe.rendering.prompts.text import WeightedText

START, END, COMMA = 49406, 49407, 267
"""Ids of CLIP's byte-pair vocabulary (49,408 entries), the same in every CLIP text encoder."""

ROOM = 75
BACKTRACK = 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Up to 75 token ids with their weights; `ids` and `row_weights` give the full row of 77."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]

    def ids(self, padding: Padding) -> list[int]:
        pad = END if padding == "end" else 0
        return [START, *self.tokens, END, *[pad] * (ROOM - len(self.tokens))]

    def row_weights(self) -> list[float]:
        return [1.0, *self.weights, 1.0, *[1.0] * (ROOM - len(self.tokens))]


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


def cut_chunks(pieces: Sequence[WeightedText], encode: Callable[[str], Sequence[int]]) -> tuple[Chunk, ...]:
    """Chunks of `pieces`, at least one. `encode` gives a text's ids without start and end."""
    done: list[Chunk] = []
    current = _Open()
    for piece in pieces:
        if piece.text is None:
            done.append(current.close())
            current = _Open()
            continue
        for token in encode(piece.text):
            if len(current.tokens) == ROOM:
                current = _overflow(current, token, done)
            current.add(token, piece.weight)
    if current.tokens or not done:
        done.append(current.close())
    return tuple(done)


def _overflow(full: _Open, token: int, done: list[Chunk]) -> _Open:
    """Close a full chunk; what stands after its last near comma opens the next one."""
    following = _Open()
    cut = full.after_comma
    if token != COMMA and cut is not None and ROOM - (cut - 1) <= BACKTRACK:
        for moved in range(cut, ROOM):
            following.add(full.tokens[moved], full.weights[moved])
        full.tokens, full.weights = full.tokens[:cut], full.weights[:cut]
    done.append(full.close())
    return following
