"""The language of what a person sees: English, or Chinese as Taiwan writes it.

`say` translates a text where it is shown. What a program reads, JSON and files, stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from loralathe import as_flag

if TYPE_CHECKING:
    from loralathe import Catalogue

ENGLISH, CHINESE = "en", "zh-TW"
FLAG = "--lang"
_CHINESE_PLACES = ("zh_tw", "zh_hant", "zh_hk")
_LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
"""Variables of the surroundings that name a language; the first that is set counts."""


class Data(str):
    """A text that is not ours, such as a prompt or a name: it is shown as it is."""

    __slots__ = ()


class _Spoken:
    language = ENGLISH
    catalogue: Catalogue | None = None


def speak(language: str) -> None:
    """From now on, show texts in this language. The catalogue of English is the code itself."""
    _Spoken.language = language
    _Spoken.catalogue = None
    if language != ENGLISH:
        from loralathe import read_catalogue

        _Spoken.catalogue = read_catalogue(language)


def spoken() -> str:
    """The language in which texts are shown."""
    return _Spoken.language


def say(text: str) -> str:
    """A text of ours as the person reads it."""
    return text if _Spoken.catalogue is None or isinstance(text, Data) else _Spoken.catalogue.say(text)


def say_label(text: str) -> str:
    """The name of a row or a column."""
    return text if _Spoken.catalogue is None or isinstance(text, Data) else _Spoken.catalogue.label(text)


def say_placeholder(text: str) -> str:
    """FILE, NAME=NUMBER and the like, which stand for a value in help pages."""
    return text if _Spoken.catalogue is None else _Spoken.catalogue.placeholders.get(text, text)


def say_flag(name: str, value: float | str | Mapping[str, str | float] | Sequence[str] | None) -> str:
    """An option as the command line writes it; what stands for a value as in help pages."""
    if isinstance(value, str):
        value = say_placeholder(value)
    elif isinstance(value, Mapping):
        return " ".join(as_flag(name, say_placeholder(f"{key}={one}")) for key, one in value.items())
    return as_flag(name, value)


def say_after(label: str, text: str) -> str:
    """`label: text`, both as they are, with the colon of the language."""
    return label + (": " if _Spoken.catalogue is None else "：") + text


def say_series(texts: Iterable[str]) -> str:
    """Texts in a row, all as they are, with the comma of the language."""
    return (", " if _Spoken.catalogue is None else "、").join(texts)


def language_of(surroundings: Mapping[str, str]) -> str:
    """Chinese where the terminal speaks Taiwan's or Hong Kong's, else English."""
    named = next((surroundings[name] for name in _LOCALE if surroundings.get(name)), "")
    return CHINESE if named.replace("-", "_").lower().startswith(_CHINESE_PLACES) else ENGLISH


def take_language(words: Sequence[str]) -> tuple[list[str], str]:
    """The words without `--lang zh-TW`, wherever it stands, and the language that is spoken.

    A language that is not known is left for the command, which refuses it.
    """
    kept, language = list(words), language_of(os.environ)
    end = kept.index("--") if "--" in kept else len(kept)
    for place in reversed(range(end)):
        flag, equals, value = kept[place].partition("=")
        if not equals and place + 1 < end:
            value = kept[place + 1]
        known = {name.lower(): name for name in (ENGLISH, CHINESE)}
        if flag == FLAG and value.lower() in known:
            del kept[place : place + (1 if equals else 2)]
            return kept, known[value.lower()]
    return kept, language
