"""What the program says while tests run, and what of it stays English in Chinese.

Templates are compared one by one in `test_texts.py`; this finds what goes wrong between them: a text of ours
that is the value of another, or stands beside one, and is not translated there. Names and words of others
may stay as they are: a piece counts when the source says it, too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import loralathe
from loralathe import read_catalogue
from loralathe.cli import language
from loralathe.errors import LatheError, Message
from loralathe.words.catalogue import catalogue_files
from words.collect import constants, texts

SOURCE = Path(loralathe.__file__).parent
NAMES = Path(__file__).with_name("names.txt")
SHOWN = re.compile(r"`[^`]*`|「[^」]*」|\"[^\"]*\"|lathe [a-z-]+(?: \S+)*|python -m \S+(?: \S+)*")
"""What stays as it is in every language: names in quotes, data, commands."""
WORD = r"[A-Za-z][a-z'’-]+"
LENGTH = 3
RUN = re.compile(rf"(?<![\w./=:-]){WORD}(?: {WORD}){{{LENGTH - 1},}}(?![\w/=])")

_heard: dict[str, None] = {}
_labels: dict[str, None] = {}


def listen() -> None:
    """From now on, hear all errors that are made, and all that the command shows."""
    make, say, say_label = LatheError.__init__, language.say, language.say_label

    def made(error: LatheError, what: str, **others: object) -> None:
        make(error, what, **others)  # type: ignore[arg-type]
        if Path(sys._getframe(1).f_code.co_filename).is_relative_to(SOURCE):  # not an error of the test's own
            for text in (error.what, error.where, error.fix):
                hear(text)

    def said(text: str) -> str:
        hear(text)
        return say(text)

    def labelled(text: str) -> str:
        hear(text)
        if not isinstance(text, language.Data):
            _labels[text] = None
        return say_label(text)

    LatheError.__init__ = made  # type: ignore[method-assign]
    language.say, language.say_label = said, labelled


listen()  # before the command's files take `say`: the first conftest imports this file


@pytest.fixture(autouse=True)
def said_in_chinese_too() -> Iterator[None]:
    """Whatever errors and reports a test makes, nothing of ours stays English in their Chinese.

    A folder of tests that imports it in its conftest is listened to.
    """
    take_heard()
    take_labels()
    yield
    left = {text: found for text in take_heard() if (found := left_in_english(text))}
    assert not left, f"see src/loralathe/words/template.py: {left}"
    labels = take_labels()
    assert not labels, f"{labels}: [labels] of src/loralathe/words/zh-TW/labels.toml"


def hear(text: str | None) -> None:
    if text and not isinstance(text, language.Data):
        _heard[text.spelled(language.say_flag) if isinstance(text, Message) else str(text)] = None


def take_heard() -> list[str]:
    """What was heard since this was asked last."""
    found = list(_heard)
    _heard.clear()
    return found


def take_labels() -> list[str]:
    """Names of rows and columns that Chinese lacks."""
    known = read_catalogue("zh-TW")
    found = [
        text for text in _labels if known.label(text) == text and text not in known.labels and text in rows()
    ]
    _labels.clear()
    return found


@cache
def rows() -> frozenset[str]:
    """Lower-case words that stand alone in the source of the command."""
    words = {word for path in (SOURCE / "cli").rglob("*.py") for word in constants(path)}
    return frozenset(word for word in words if re.fullmatch(r"[a-z]{3,}(?: [a-z]+)*", word))


@cache
def left_in_english(text: str) -> tuple[str, ...]:
    """Words of ours in a row that the Chinese text still has."""
    chinese = SHOWN.sub("", read_catalogue("zh-TW").label(text))
    runs = (found[0].split() for found in RUN.finditer(chinese))
    return tuple(piece for run in runs for piece in pieces(run) if piece in ours())


def pieces(words: list[str]) -> list[str]:
    return [" ".join(words[start : start + LENGTH]) for start in range(len(words) - LENGTH + 1)]


@cache
def ours() -> frozenset[str]:
    """All words in a row of the source, but for those that Chinese has, too: names and terms."""
    found = {piece for path in SOURCE.rglob("*.py") for _, text in texts(path) for piece in _pieces_of(text)}
    others = ["out of memory", "are not supported", "cannot be called"]  # torch and zipfile say so, too
    same = [
        *others,
        *NAMES.read_text("utf-8").splitlines(),
        *re.findall(" = (.*)", "\n".join(catalogue_files("zh-TW").values())),
    ]
    return frozenset(found - {piece for text in same for piece in _pieces_of(text)})


def _pieces_of(text: str) -> list[str]:
    return [piece for found in RUN.finditer(text) for piece in pieces(found[0].split())]
