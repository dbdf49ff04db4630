"""A catalogue: the texts of the code by their English, and how a text is found in it.

A text is looked up as it is, then matched against the templates; of those that fit, the one with the most
letters of its own is meant. Lists are translated one by one. `zh-TW/` holds a file for each area; its tables
hold names of rows and columns (`[labels]`), which a value never is, how things are counted (`[nouns]`), and
what stands for a value in help pages (`[placeholders]`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files

from loralathe.words.template import Template, has_values, joined, plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LANGUAGES = ("en", "zh-TW")
TABLES = ("labels", "nouns", "placeholders")
"""Of a file, beside its texts: `size = "大小"`, `tensor = "個張量"`, `FILE = "檔案"`."""

_WORD = re.compile(r"[A-Za-z]{2}")
_COUNT = re.compile(r"(\s*[\d,.]+) (.+)", re.DOTALL)
_IN_BRACKETS = re.compile(r"(.+) \((.+)\)")
_QUOTED_NAMES = re.compile(r"'[^']*'(?:(?:, | or | and | / )'[^']*')*")
_BETWEEN_NAMES = {", ": "、", " or ": "或", " and ": "與", " / ": "／"}
_MORE = re.compile(r"(.*) and ([\d,]+) more", re.DOTALL)
_NAME = r"[^\s,]+(?: [^\s,]+){0,3}?"
_SERIES = re.compile(rf"({_NAME}(?:, {_NAME})+) (and|or) ({_NAME})")
_WITH_NAME = re.compile(r"(\w+) ('[^']*')")
"""`strength 'nan'`: the name of a row, and what was given for it."""
_STRONG_SEPARATOR = " · "
"""No text of ours holds it: what stands between two of them is cut before anything else is tried."""
_AFTER_A_LABEL, _BETWEEN, _BETWEEN_LISTS = ": ", ", ", "; "
_SEPARATORS = {"\n": "\n", _BETWEEN_LISTS: "；", _BETWEEN: "，", _AFTER_A_LABEL: "："}
"""What stands between texts side by side, here and there; the first that occurs cuts them. Names have 、."""


class Catalogue:
    """Texts of one language by their English."""

    def __init__(
        self,
        entries: Mapping[str, str],
        labels: Mapping[str, str],
        nouns: Mapping[str, str],
        placeholders: Mapping[str, str],
    ) -> None:
        self.labels = labels
        self.placeholders = placeholders
        self._exact = {plain(text): plain(other) for text, other in entries.items() if not has_values(text)}
        templates = [Template(text, other) for text, other in entries.items() if has_values(text)]
        templates += [
            Template(f"{{1}} {noun}", f"{{1:n}} {other}")
            for singular, other in nouns.items()
            for noun in (singular, f"{singular}s")
        ]
        self._templates = sorted(templates, key=lambda one: -one.weight)
        self._endings = {text: other for text, other in self._exact.items() if text[0] in " ,;"}
        self.say = lru_cache(4096)(self._say)

    def _say(self, text: str) -> str:
        """`text` in this language; in English where no entry fits."""
        return self.find(text) or text

    def label(self, text: str) -> str:
        """The name of a row or a column in this language."""
        return self.labels.get(text) or self.say(text)

    def find(self, text: str) -> str | None:
        """`text` in this language, or None."""
        if _QUOTED_NAMES.fullmatch(text):
            return _in_corners(text)
        if not _WORD.search(text):
            return None
        return self._entry(text) or self._composed(text)

    def _entry(self, text: str) -> str | None:
        """A text of ours as a whole."""
        if (exact := self._exact.get(text)) is not None:
            return exact
        if _STRONG_SEPARATOR in text:
            return self._list(text, _STRONG_SEPARATOR, _STRONG_SEPARATOR)
        label, colon, meaning = text.partition(_AFTER_A_LABEL)
        if colon and label in self.labels and meaning in self._exact:
            return f"{self.labels[label]}：{self._exact[meaning]}"
        return self._by_template(text, self._templates)

    def _by_template(self, text: str, templates: Iterable[Template]) -> str | None:
        for template in templates:
            if template.anchor in text and (match := template.pattern.fullmatch(text)):
                found = self._filled(template, match)
                if found is not None:
                    return found
        return None

    def _filled(self, template: Template, match: re.Match[str]) -> str | None:
        """The translation with the values of a text; None where one of them should be a text of ours."""
        parts = []
        for literal, number in template.pieces:
            parts.append(literal)
            given, kind = match[f"v{number}"] if number else "", template.kinds.get(number, "")
            if kind == "t" and given and given not in self.labels and self._entry(given) is None:
                return None
            if kind == "q" and _BETWEEN_LISTS in given and any(map(self._entry, given.split(_BETWEEN_LISTS))):
                return None  # more than data: another text of ours stands beside it
            if kind in ("n", "q"):
                parts.append(given)
            elif kind == "m":
                parts.append(self._names(given))
            elif kind == "w":
                parts.append(self.placeholders.get(given, given))
            else:
                parts.append(self.label(given) if kind in ("l", "t") else self.say(given))
        return joined(parts)

    def _names(self, text: str) -> str:
        """`2 modules: a, no block and 7 more`: names in a row; only what has several words can be ours."""
        if _BETWEEN_LISTS in text:
            return "；".join(map(self._names, text.split(_BETWEEN_LISTS)))
        before, colon, names = text.partition(_AFTER_A_LABEL)
        if colon and (label := before if before.isdigit() else self.find(before)):
            return f"{label}：{self._names(names)}"
        if match := _MORE.fullmatch(text):
            return f"{self._names(match[1])}，另有 {match[2]} 個"
        if _QUOTED_NAMES.fullmatch(text):
            return _in_corners(text)
        return "、".join(self._name(name) if " " in name else name for name in text.split(_BETWEEN))

    def _name(self, name: str) -> str:
        """One of several words; what stands in brackets behind it may be ours: `64 (dev or schnell)`."""
        if name not in self._exact and (match := _IN_BRACKETS.fullmatch(name)):
            return f"{self._name(match[1])}（{self.label(match[2])}）"
        return self._exact.get(name, name)

    def _composed(self, text: str) -> str | None:
        """`722 changed`, `position ids (1)`, a text with another after it, and texts side by side."""
        match = _COUNT.fullmatch(text)
        if match and (other := self.labels.get(match[2]) or self._exact.get(match[2])):
            return f"{match[1]} {other}"
        if found := self._with_something(text) or self._series(text):
            return found
        for ending, other in self._endings.items():
            if text.endswith(ending):
                return joined([self.label(text.removesuffix(ending)), other])
        for separator, here in _SEPARATORS.items():
            if separator in text:
                return self._list(text, separator, here)
        if match := _IN_BRACKETS.fullmatch(text):
            ours = any(map(self.find, match.groups()))
            return "{}（{}）".format(*map(self.say, match.groups())) if ours else None
        return None

    def _with_something(self, text: str) -> str | None:
        """`epsilon (SDXL default)`, `strength 'nan'`: a name, with what is told or was given of it."""
        if match := _IN_BRACKETS.fullmatch(text):
            if first := self._exact.get(match[1]):
                return f"{first}（{self.label(match[2])}）"
            if last := self._entry(match[2]):
                return f"{self.say(match[1])}（{last}）"
        if (match := _WITH_NAME.fullmatch(text)) and match[1] in self.labels:
            return self.labels[match[1]] + _in_corners(match[2])
        return None

    def _series(self, text: str) -> str | None:
        """`SDXL, SD 3 medium and Flux`: names that are not ours."""
        match = _SERIES.fullmatch(text)
        if match is None or any(map(self._entry, match[1].split(_BETWEEN))):
            return None
        return joined([match[1].replace(_BETWEEN, "、"), _BETWEEN_NAMES[f" {match[2]} "], match[3]])

    def _attached(self, separator: str, here: str, part: str) -> str | None:
        """A text of ours that begins with what stands before it: `, byte 5 of its pickle`."""
        text = separator + part
        beginning = [template for template in self._templates if template.english.startswith(separator)]
        found = self._exact.get(text) or self._by_template(text, beginning)
        return found.removeprefix(here) if found else None

    def _list(self, text: str, separator: str, here: str) -> str | None:
        first, *others = parts = text.split(separator)
        found = [
            self.find(first),
            *(self.find(part) or self._attached(separator, here, part) for part in others),
        ]
        if separator == _AFTER_A_LABEL:
            found[0] = self.labels.get(parts[0]) or found[0]
        if not any(found):
            return None
        text = found[0] or first
        for before, other, part in zip(found, found[1:], others, strict=False):
            between = here if before or other or separator != _BETWEEN else "、"
            text += between + (other or part)
        return text


def _in_corners(text: str) -> str:
    """`'a', 'b' or 'c'` with the quotes of Chinese."""
    names = re.split(r"(?<=')(, | or | and | / )(?=')", text)
    return "".join(_BETWEEN_NAMES.get(part) or f"「{part[1:-1]}」" for part in names)


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


@lru_cache
def read_page(language: str, page: str) -> dict[str, dict[str, str]]:
    """The words of a page by their names in its script, in tables; those that it shares with others first."""
    file = files(__package__) / language / "pages" / f"{page}.toml"
    tables = tomllib.loads(file.read_text("utf-8"))
    shared = tables.pop("shared", None)
    if shared is not None:
        tables["texts"] = read_page(language, shared)["texts"] | tables["texts"]
    found: dict[str, dict[str, str]] = tables
    return found


def catalogue_files(language: str) -> dict[str, str]:
    """What stands in each file of a language."""
    folder = files(__package__) / language
    return {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.name.endswith(".toml")}
