"""CLIP's vocabulary of 49,408 tokens: ids of a text, and names among them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from loralathe.rendering.machine import library

T = TypeVar("T")
TABLE_ROWS = 49_408
"""Of the table of tokens in every CLIP text encoder."""


@cache
def _tokenizer() -> Any:
    return library("instant_clip_tokenizer").Tokenizer()


def encode_text(text: str) -> list[int]:
    """Ids of `text` in CLIP's vocabulary of 49,408, without start and end.

    The package carries the vocabulary, so nothing is fetched.
    """
    ids: list[int] = _tokenizer().encode(text)
    return ids


def text_of_token(token: int) -> str:
    """The text of one id; a blank at its end says that a word ends there."""
    text: str = _tokenizer().decode([token])
    return text


def with_names(text: str, known: Sequence[tuple[tuple[int, ...], T]]) -> list[tuple[int, T | None]]:
    """(id, None) of every token; for a name (its first id, what it stands for). The longest name wins.

    known: the ids of each name, and what it stands for.
    """
    ids, at = tuple(encode_text(text)), 0
    longest = sorted((one for one in known if one[0]), key=lambda one: -len(one[0]))
    found: list[tuple[int, T | None]] = []
    while at < len(ids):
        named = next((one for one in longest if ids[at : at + len(one[0])] == one[0]), None)
        found.append((ids[at], named[1] if named else None))
        at += len(named[0]) if named else 1
    return found
