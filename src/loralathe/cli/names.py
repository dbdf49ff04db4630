"""NAME=VALUE words of the command line."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from loralathe.api.names import InputNames, beside, formula_name, identifier, stem
from loralathe.errors import InputError, spelling_hint, with_equals
from loralathe.strengths import parse_number

__all__ = [
    "InputNames", "beside", "formula_name", "identifier", "input_files", "numbers",
    "split_assignments", "stem",
]  # fmt: skip


def split_assignments(words: Sequence[str], what: str, example: str) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping; InputError for a word without `=` and for a name given twice."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name, value = unicodedata.normalize("NFKC", name.strip()), value.strip()
        if not equals or not name or not value:
            fix = example if equals else _with_equals(word) or spelling_hint(word) or example
            raise InputError(f"{what} is written NAME=VALUE", where=f"'{word}'", fix=fix)
        if name in found:
            raise InputError(f"'{name}' is given twice", where=f"'{word}'", fix="keep one of them")
        found[name] = value
    return found


def _with_equals(word: str) -> str | None:
    meant = with_equals(word)
    return f"between name and value stands '=': {meant}" if meant else None


def input_files(words: Sequence[str], example: str) -> dict[str, Path]:
    """`NAME=FILE` words; InputError as `split_assignments`."""
    return {name: Path(text) for name, text in split_assignments(words, "an input", example).items()}


def numbers(words: Sequence[str]) -> dict[str, float]:
    """`--set M=0.7` words; InputError for what is no number."""
    given = split_assignments(words, "--set", "--set M=0.7")
    return {name: parse_number(text, where=f"--set {name}={text}") for name, text in given.items()}
