"""The words of the workshop's pages: in both languages, all of them used, none missing."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

import loralathe
from loralathe.words import read_page

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(loralathe.__file__).parent / "workshop"
PUT_TOGETHER = (
    "shell.cop",
    "shell.page_",
    "shell.choose_",
    "shell.state_",
    "shell.said_",
    "groups.",
    "axes.",
    "compare.",
    "history.kind_",
    "programs.names_",
    "likeness.kind_",
    "likeness.lead_",
    "likeness.goal_",
    "likeness.way_",
)
"""Beginnings of keys that the scripts put together."""


@cache
def english() -> dict[str, str]:
    return flat(tomllib.loads((FOLDER / "texts.toml").read_text("utf-8")))


@cache
def scripts() -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted((FOLDER / "static").rglob("*.js")))


def flat(tables: dict[str, dict[str, str]]) -> dict[str, str]:
    return {f"{section}.{key}": text for section, keys in tables.items() for key, text in keys.items()}


def test_both_languages_have_the_same_words_and_values() -> None:
    chinese = flat(read_page("zh-TW", "workshop"))
    assert list(chinese) == list(english())
    values = re.compile(r"\{\d+\}")
    differing = [
        key
        for key, text in english().items()
        if set(values.findall(text)) != set(values.findall(chinese[key]))
    ]
    assert differing == []


def test_every_word_that_a_script_asks_for_is_there() -> None:
    asked = set(re.findall(r'\bt\(\s*"([a-z]+\.\w+)"[,)]', scripts()))
    assert len(asked) > 60
    assert sorted(asked - english().keys()) == []


def test_titles_of_jobs_can_be_told_in_the_other_language() -> None:
    """`retitled` in words.js knows them all: a title is kept as text, in the language it was made in."""
    listed = re.search(r"const TITLES = \[(.*?)\]", scripts(), re.DOTALL)
    assert listed
    titles = set(re.findall(r'"([a-z.0-9_]+)"', listed[1]))
    assert titles <= english().keys()
    assert titles >= {key for key in english() if re.search(r"\.(preview_)?job(_\w+)?$", key)}


def test_no_word_is_unused() -> None:
    """Asked for as it is, by a beginning of `PUT_TOGETHER`, or with its name put behind a section's."""

    def is_used(key: str) -> bool:
        name = key.partition(".")[2]
        spelled = (f'"{key}"', f'"{name}"', f".{name}`", f"{name}:")
        return key.startswith(PUT_TOGETHER) or any(word in scripts() for word in spelled)

    assert [key for key in english() if not is_used(key)] == []


def test_no_script_puts_markup_or_code_into_a_page() -> None:
    """Names, prompts and metadata are text: nothing is read as HTML, and the policy allows no inline code."""
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", scripts()
    )
    assert found == []
    shell = (FOLDER / "templates" / "shell.html").read_text("utf-8")
    assert re.findall(r"\son\w+=|\sstyle=|<script>|<style", shell) == []
