"""A failing case made smaller while it fails in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from fuzz.case import Case, Fixture

SECONDS = 10.0
"""No longer than this for one case."""


def smaller(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Drop files, then words, then shorten words and small files piece by piece."""
    clock = time.monotonic() + SECONDS

    def still(other: Case) -> bool:
        return time.monotonic() < clock and fails(other)

    for name in tuple(case.files):
        other = replace(case, files={key: thing for key, thing in case.files.items() if key != name})
        if isinstance(case.files[name], Fixture) and still(other):
            case = other
    for at in reversed(range(1, len(case.words))):
        other = replace(case, words=case.words[:at] + case.words[at + 1 :])
        if still(other):
            case = other
    for at in range(1, len(case.words)):
        case = _shorter_word(case, at, still)
    for name, thing in tuple(case.files.items()):
        if isinstance(thing, bytes) and len(thing) < 4000:
            case = _shorter_file(case, name, still)
    return case


def _shorter_word(case: Case, at: int, still: Callable[[Case], bool]) -> Case:
    def with_word(text: str) -> Case:
        return replace(case, words=(*case.words[:at], text, *case.words[at + 1 :]))

    return with_word(_shortened(case.words[at], lambda text: still(with_word(text))))


def _shorter_file(case: Case, name: str, still: Callable[[Case], bool]) -> Case:
    # One character a byte, so that one function shortens both.
    text = case.files[name].decode("latin-1")  # type: ignore[union-attr]

    def with_data(text: str) -> Case:
        return replace(case, files={**case.files, name: text.encode("latin-1")})

    return with_data(_shortened(text, lambda text: still(with_data(text))))


def _shortened(text: str, still: Callable[[str], bool]) -> str:
    """Take out halves, quarters, … single characters, as long as it fails (ddmin of Zeller 2002)."""
    size = len(text) // 2
    while size:
        at = 0
        while at < len(text):
            other = text[:at] + text[at + size :]
            if still(other):
                text = other
            else:
                at += size
        size //= 2
    return text
