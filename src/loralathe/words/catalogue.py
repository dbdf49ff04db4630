"""A catalogue: the texts of the code as templates, `'{1}' is not a block of {2}`, each with its translation.

A text is looked up as it is, then matched against the templates; of those that fit, the one with the most
letters of its own is meant. A value may be a text of ours, too, and is then translated: all but those that
stand in quotes, which are names. In a translation `{1:n}` asks for a number, and `{1:w}` says that what is
quoted is a placeholder.

`zh-TW/` holds a file for each area; its tables tell how things are counted (`[nouns]`), and what stands for
a value in help pages (`[placeholders]`): FILE.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LANGUAGES = ("en", "zh-TW")
TABLES = ("nouns", "placeholders")
"""Of a file, beside its texts: `tensor = "個張量"`, `FILE = "檔案"`."""

_HOLE = re.compile(r"('?)\{(\d+)(?::([nw]))?\}")
_NUMBER = r"[-−+<≤]?\d[\d,.]*(?:e[-+]?\d+)?(?: ?(?:%|[kMGT]i?B|bytes|s|×))?"
_COUNT = re.compile(r"([\d,.]+) (.+)", re.DOTALL)
_SEPARATORS = ("\n", " · ", "; ", ", ")
"""What stands between the texts of a list; the first that occurs cuts it."""
_WORD = re.compile(r"[A-Za-z]{2}")


@dataclass(frozen=True)
class Template:
    """A text with values: what it is in English, `'{1}' is {2}`, and in the other language."""

    english: str
    other: str

    @cached_property
    def anchor(self) -> str:
        """The longest part between two values: a text without it is another."""
        return max(_literals(self.english), key=len)

    @cached_property
    def weight(self) -> int:
        return sum(map(len, _literals(self.english)))

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Of each value: `n` a number, `w` a placeholder, `q` a name in quotes, or nothing: any text."""
        quoted = {number: "q" * bool(quote) for quote, number, _ in _HOLE.findall(self.english)}
        return quoted | {number: kind for _, number, kind in _HOLE.findall(self.other) if kind}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts = _HOLE.split(self.english)
        made = re.escape(_plain(parts[0]))
        for quote, number, _, literal in zip(parts[1::4], parts[2::4], parts[3::4], parts[4::4], strict=True):
            value = _NUMBER if self.kinds[number] == "n" else ".*?"
            made += f"{quote}(?P<v{number}>{value}){re.escape(_plain(literal))}"
        return re.compile(made, re.DOTALL)


def _literals(text: str) -> list[str]:
    return [_plain(part) for part in _HOLE.split(text)[::4]]


def _plain(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")


class Catalogue:
    """Texts of one language by their English."""

    def __init__(
        self, entries: Mapping[str, str], nouns: Mapping[str, str], placeholders: Mapping[str, str]
    ) -> None:
        self.placeholders = placeholders
        self._exact = {
            _plain(text): _plain(other) for text, other in entries.items() if not _HOLE.search(text)
        }
        templates = [Template(text, other) for text, other in entries.items() if _HOLE.search(text)]
        templates += [
            Template(f"{{1}} {noun}", f"{{1:n}} {other}")
            for singular, other in nouns.items()
            for noun in (singular, f"{singular}s")
        ]
        self._templates = sorted(templates, key=lambda one: -one.weight)
        self.say = lru_cache(4096)(self._say)

    def _say(self, text: str) -> str:
        """`text` in this language; in English where no entry fits."""
        return self.find(text) or text

    def find(self, text: str) -> str | None:
        """`text` in this language, or None."""
        if not _WORD.search(text):
            return None
        if (exact := self._exact.get(text)) is not None:
            return exact
        for template in self._templates:
            if template.anchor in text and (match := template.pattern.fullmatch(text)):
                return self._filled(template, match)
        return self._counted(text) or self._listed(text)

    def _filled(self, template: Template, match: re.Match[str]) -> str:
        def value(found: re.Match[str]) -> str:
            given, kind = match[f"v{found[2]}"], template.kinds[found[2]]
            if kind == "w":
                return self.placeholders.get(given, given)
            return found[1] + (given if kind else self.say(given))

        return _plain(_HOLE.sub(value, template.other))

    def _counted(self, text: str) -> str | None:
        """`722 changed`: a number, and a text of ours."""
        match = _COUNT.fullmatch(text)
        other = self._exact.get(match[2]) if match else None
        return f"{match[1]} {other}" if match and other else None

    def _listed(self, text: str) -> str | None:
        """Texts of ours side by side."""
        for separator in _SEPARATORS:
            parts = text.split(separator)
            if len(parts) > 1:
                found = [self.find(part) for part in parts]
                if not any(found):
                    return None
                return separator.join(other or part for other, part in zip(found, parts, strict=True))
        return None


@lru_cache
def read_catalogue(language: str) -> Catalogue:
    """The catalogue of a language, from its files."""
    tables: dict[str, dict[str, str]] = {name: {} for name in TABLES}
    entries: dict[str, str] = {}
    for text in catalogue_files(language).values():
        data = tomllib.loads(text)
        for name in TABLES:
            tables[name] |= data.pop(name, {})
        entries |= data
    return Catalogue(entries, **tables)


def catalogue_files(language: str) -> dict[str, str]:
    """What stands in each file of a language."""
    folder = files(__package__) / language
    return {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.name.endswith(".toml")}
