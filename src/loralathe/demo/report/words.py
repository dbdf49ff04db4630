"""The report's words: one file for each language, the same keys in all of them.

A text may hold `code`, **weight** and {numbers}; a blank line begins a new paragraph.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import cast

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover -- the same parser under its older name
    import tomli as tomllib

LANGUAGES = {"zh-TW": "繁體中文", "en": "English"}

_CODE = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")
_MARKS = tuple("，。、；：！？（）「」『』〈〉《》")


@cache
def words_of(language: str) -> Mapping[str, str]:
    """All texts of a language by dotted key: `strength.lead`."""
    text = files("loralathe.demo.report").joinpath(f"{language}.toml").read_text(encoding="utf-8")
    return dict(_flat(tomllib.loads(text)))


def _flat(table: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _flat(cast("Mapping[str, object]", value), f"{prefix}{key}.")
        else:
            found.append((prefix + key, str(value)))
    return found


def paragraphs(text: str, numbers: Mapping[str, str]) -> list[str]:
    """The text as HTML paragraphs, its places filled."""
    return [inline(part, numbers) for part in re.split(r"\n\s*\n", text.strip())]


def inline(text: str, numbers: Mapping[str, str] | None = None) -> str:
    """One run of text as HTML. KeyError for a place without a number: a fault of the words."""
    filled = _joined(text)
    for name in set(re.findall(r"\{(\w+)\}", filled)):
        filled = filled.replace("{" + name + "}", (numbers or {})[name])
    escaped = html.escape(filled, quote=False)
    return _STRONG.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", escaped))


def _joined(text: str) -> str:
    """Lines joined by a space; by nothing between two Chinese characters, and beside a full-width mark."""
    lines = [line.strip() for line in text.strip().splitlines()]
    joined = lines[0] if lines else ""
    for line in lines[1:]:
        ends = joined[-1:], line[:1]
        wide = all(end > "\u2e7f" for end in ends) or any(end in _MARKS for end in ends)
        joined += line if wide else f" {line}"
    return joined
