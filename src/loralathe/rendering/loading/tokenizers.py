"""Tokenizers of language models: files that the person has, since no package carries their vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loralathe.errors import InputError
from loralathe.families import Tokens
from loralathe.rendering.machine import library

FILE = "tokenizer.json"
OLDER = ("vocab.json", "merges.txt")
"""What stands in its place in older folders."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """An open tokenizer, and how its model reads a text. pad, end: ids."""

    inner: Any
    tokens: Tokens
    pad: int
    end: int | None

    def ids(self, text: str) -> list[int]:
        """Of a text in its template, cut to what the model reads, with its end."""
        whole = self.tokens.template.replace("{}", text)
        found: list[int] = self.inner.encode(whole, add_special_tokens=False).ids
        if self.end is None:
            return found[: self.tokens.most]
        return [*found[: self.tokens.most - 1], self.end]


def holds_tokenizer(folder: Path) -> bool:
    return (folder / FILE).is_file() or all((folder / name).is_file() for name in OLDER)


def open_tokenizer(place: Path, tokens: Tokens) -> Tokenizer:
    """place: tokenizer.json, or a folder that holds it. InputError for another model's."""
    inner = _read(place)
    inner.no_truncation()
    inner.no_padding()
    ids = {name: inner.token_to_id(name) for name in (tokens.pad, tokens.end) if name}
    for name, number in ids.items():
        if number is None:
            raise InputError(
                f"this is another model's tokenizer: it has no token '{name}'",
                where=str(place),
                fix="name the tokenizer of the text encoder that the model was trained with",
            )
    return Tokenizer(inner, tokens, ids[tokens.pad], ids.get(tokens.end))


def _read(place: Path) -> Any:
    file = place / FILE if place.is_dir() else place
    if not file.is_file() and holds_tokenizer(place):
        kind = library("transformers").AutoTokenizer
        return kind.from_pretrained(str(place), local_files_only=True).backend_tokenizer
    if file.suffix != ".json":
        raise InputError(
            "a tokenizer is a file tokenizer.json", where=str(file), fix="name that file, or its folder"
        )
    try:
        return library("tokenizers").Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(
            f"the tokenizer cannot be read: {error}", where=str(file), fix="get the file again"
        ) from error
