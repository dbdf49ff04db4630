"""Texts with values: `'{1}' is not a block of {2}` in English, with its translation.

A value may be a text of ours, too, and is then translated; a value in quotes is a name and is not. The
translation may say more of a value: `{1:n}` is a number, `{1:s}` is short, `{1:t}` must be a text of ours,
`{1:l}` may be the name of a row, `{1:m}` is a list of names, `{1:q}` is data as if it stood in quotes, and
`{1:w}` is a placeholder although it does. Spaces between the scripts come by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

_VALUE = re.compile(r"('?)\{(\d+)(?::([lmnqstw]))?\}")
_PATTERNS = {
    "t": ".*",
    "n": r"\s*[-−+<≤]?\d[\d,.]*(?:e[-+]?\d+)?(?: ?(?:%|[kMGT]i?B|bytes|s|×))?",
    "s": r"\S+(?: \S+){0,2}",
}
_ANYTHING = ".*?"
_QUOTED = r"(?:[^']|'(?=[^\s,;:?!.)/']))*?"
"""A name may hold an apostrophe, but none that looks like the end of a quote."""
_WIDE = re.compile(r"[\u3001-\u301f\u3400-\u9fff\uff00-\uff60]")
_LETTER = re.compile(r"[\u3400-\u9fff]")
_NARROW = re.compile(r"[!-+\-./0-9<-~‖−]")


@dataclass(frozen=True)
class Template:
    """What a text with values is in English and in the other language."""

    english: str
    other: str

    @cached_property
    def anchor(self) -> str:
        """The longest part between two values: a text without it is another."""
        return max(self._literals, key=len)

    @cached_property
    def weight(self) -> int:
        """Letters of its own."""
        return sum(map(len, self._literals))

    @cached_property
    def _literals(self) -> list[str]:
        return [plain(part) for part in _VALUE.split(self.english)[::4]]

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Of each value: what the translation says of it, `q` if it stands in quotes, or nothing."""
        quoted = {number: "q" * bool(quote) for quote, number, _ in _VALUE.findall(self.english)}
        return quoted | {number: kind for _, number, kind in _VALUE.findall(self.other) if kind}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the English text; group `v1` is the first value."""
        parts = _VALUE.split(self.english)
        made = re.escape(plain(parts[0]))
        for quote, number, _, literal in zip(parts[1::4], parts[2::4], parts[3::4], parts[4::4], strict=True):
            value = _QUOTED if quote else _PATTERNS.get(self.kinds[number], _ANYTHING)
            made += f"{quote}(?P<v{number}>{value}){re.escape(plain(literal))}"
        return re.compile(made, re.DOTALL)

    @cached_property
    def pieces(self) -> list[tuple[str, str]]:
        """The translation: each literal with the number of the value after it; none after the last."""
        parts = _VALUE.split(self.other)
        literals = [plain(part) + quote for part, quote in zip(parts[::4], [*parts[1::4], ""], strict=True)]
        return list(zip(literals, [*parts[2::4], ""], strict=True))


def has_values(text: str) -> bool:
    return _VALUE.search(text) is not None


def plain(text: str) -> str:
    """A literal part of a template as it is shown: `{{` is a brace."""
    return text.replace("{{", "{").replace("}}", "}")


def joined(parts: Iterable[str]) -> str:
    """The parts in a row: a space between Chinese and other letters, none between Chinese and Chinese."""
    text = ""
    for part in filter(None, parts):
        after = part
        if _WIDE.match(text[-2:-1]) and text[-1:] == " " and _WIDE.match(part):
            text = text[:-1]
        elif _WIDE.match(text[-1:]) and part[0] == " " and _WIDE.match(part[1:2]):
            after = part[1:]
        elif _meet(text[-1:], part[0]) or _meet(part[0], text[-1:]):
            text += " "
        text += after
    return text


def _meet(one: str, other: str) -> bool:
    return bool(_LETTER.match(one) and _NARROW.match(other))
