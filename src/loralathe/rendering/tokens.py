"""CLIP's byte-pair tokens from a package that carries the vocabulary, so nothing is fetched."""

from __future__ import annotations

from functools import cache
from typing import Any

from loralathe.rendering.libraries import library


@cache
def _tokenizer() -> Any:
    return library("instant_clip_tokenizer").Tokenizer()


def encode_text(text: str) -> list[int]:
    """Ids of `text` in CLIP's vocabulary of 49,408, without start and end."""
    ids: list[int] = _tokenizer().encode(text)
    return ids
