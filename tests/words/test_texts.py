"""Every text that people see has a translation, and every translation a text that is shown."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import click
import pytest

import loralathe
from loralathe.cli import language as spoken_language
from loralathe.cli import lathe
from loralathe.cli.app import command_names
from loralathe.cli.help_page import PageContext
from loralathe.errors import did_you_mean
from loralathe.words.catalogue import TABLES, catalogue_files
from loralathe.words.template import Template, has_values
from words.collect import constants, texts

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = Path(loralathe.__file__).parent
NAMES = Path(__file__).with_name("names.txt")
"""Texts of the source that are names, formulas or commands, one a line: no language has other ones."""
NOT_SHOWN = {
    "demo/report/build.py": "HTML; its words are in the report's own files",
    "demo/settings.py": "prompts and recipes",
    "studies/drawing/text.py": "names of fonts",
    "studies/results.py": "infotext",
    "workshop/openapi.py": "a document for programs",
    "workshop/events.py": "the protocol of events",
}
OF_OTHERS = ("click.toml", "system.toml")
"""Files with texts of click, Python and the system."""
NEAR = [[f"merge{n}" for n in range(count)] for count in (1, 2, 3)]
PUT_TOGETHER = [
    *(did_you_mean("merge", near) for near in NEAR),
    *(f"{did_you_mean('merge', near)} see lathe --help" for near in NEAR),
    "'x' is to be saved, but it is a delta",
    "a.vae or b.vae",
    "NaN is not JSON", "-0 is not a size", "something follows the JSON object", "it is too large",
]  # fmt: skip
"""Texts that the source puts together from several parts, or says to itself first."""


class Asked:
    """A catalogue that only listens."""

    def __init__(self) -> None:
        self.texts: dict[str, None] = {}
        self.placeholders: dict[str, str] = {}
        self.seen: set[str] = set()

    def say(self, text: str) -> str:
        self.texts[text] = None
        return text

    label = say


@cache
def entries() -> dict[str, tuple[str, str]]:
    """English → (file, translation)."""
    found: dict[str, tuple[str, str]] = {}
    for name, text in catalogue_files("zh-TW").items():
        data = tomllib.loads(text)
        for table in TABLES:
            data.pop(table, None)
        assert not found.keys() & data, "a text stands once"
        found |= {english: (name, other) for english, other in data.items()}
    return found


@cache
def table(name: str) -> dict[str, str]:
    return {
        key: other
        for text in catalogue_files("zh-TW").values()
        for key, other in tomllib.loads(text).get(name, {}).items()
    }


@cache
def help_texts() -> tuple[str, ...]:
    """What the help pages of all commands ask the catalogue for."""
    asked = Asked()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spoken_language._Spoken, "language", "zh-TW")
        patch.setattr(spoken_language._Spoken, "catalogue", asked)
        with PageContext(lathe, info_name="lathe", **lathe.context_settings) as top:
            lathe.get_help(top)
            assert isinstance(lathe, click.Group)
            for name in command_names():
                command = lathe.get_command(top, name)
                assert command is not None
                with PageContext(command, info_name=name, parent=top) as context:
                    command.get_help(context)
    return tuple(asked.texts)


@cache
def source_texts() -> dict[str, str]:
    """Template → where it stands."""
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name not in NOT_SHOWN and not name.startswith("words/"):
            for line, text in texts(path):
                found |= dict.fromkeys(text.split(" · "), f"{name}:{line}")
    return found


def is_of_help(text: str) -> bool:
    """Whether it is shown in a help page, as a whole or as a part that another text takes in."""
    pattern = Template(text, text).pattern if has_values(text) else None
    pages = help_texts()
    return text.startswith("\b") or any(
        text in page or (pattern and pattern.fullmatch(page)) for page in pages
    )


@cache
def source_constants() -> str:
    """All texts of the source in one, for words that stand alone there."""
    return "\n".join(word for path in sorted(SOURCE.rglob("*.py")) for word in constants(path))


def names() -> set[str]:
    return set(NAMES.read_text("utf-8").splitlines())


def counts(text: str) -> bool:
    """`{1} seeds`: how things are counted is in a table of its own."""
    return any(text == f"{{1}} {noun}{plural}" for noun in table("nouns") for plural in ("", "s"))


def test_no_text_is_missing() -> None:
    known = entries().keys() | names()
    missing = [
        f"{place}: {text!r}"
        for text, place in source_texts().items()
        if text not in known and not counts(text) and not (place.startswith("cli/") and is_of_help(text))
    ]
    assert missing == []


def test_no_text_of_help_is_missing() -> None:
    words = re.compile(r"[a-z]{2} [a-z]{2}|[A-Z][a-z]{3}")
    known = entries().keys() | names()
    of_help = (text for text, (name, _) in entries().items() if name == "help.toml" and has_values(text))
    patterns = [Template(text, text).pattern for text in of_help]
    unknown = [text for text in help_texts() if words.search(text) and text not in known]
    assert [text for text in unknown if not any(pattern.fullmatch(text) for pattern in patterns)] == []


def test_no_entry_is_unused() -> None:
    used = source_texts().keys() | set(help_texts())
    alone = source_constants()

    def is_used(text: str) -> bool:
        if text in PUT_TOGETHER or any(Template(text, text).pattern.fullmatch(one) for one in PUT_TOGETHER):
            return True
        return " " not in text and not has_values(text) and text in alone

    unused = [
        (name, text)
        for text, (name, _) in entries().items()
        if name not in OF_OTHERS and text not in used and not is_used(text)
    ]
    assert unused == []
    for words in (table("labels"), table("nouns")):
        assert [text for text in words if text not in alone] == []
    assert names() - source_texts().keys() - set(help_texts()) == set()


def test_texts_of_others_are_theirs() -> None:
    click_says = "\n".join(inspect.getsource(module) for module in modules_of_click())
    python_says = list(texts_of_python())
    for text, (name, _) in entries().items():
        if name == "click.toml":
            parts = re.split(r"'?\{\d+\}'?", text)
            assert all(part.strip(" ()") in click_says for part in parts), text
        elif name == "system.toml":
            assert any(Template(text, text).pattern.fullmatch(said) for said in python_says), text


def texts_of_python() -> Iterator[str]:
    """Errors of the system and of JSON."""
    yield from (os.strerror(number) for number in range(1, 140))
    yield from (str(error) for error in (OSError(2, "gone"), OSError(2, "gone", "file")))
    yield from ("invalid start byte", "invalid continuation byte", "surrogates not allowed", "Invalid value")
    reading = [
        *((json.loads, text) for text in ("", "{", '{"a": 1 "b"}', "{} {}", '"', '"\n"')),
        *(
            (tomllib.loads, text)
            for text in ("a", "a = ", "a = [", 'a = """', "a = 1 b", "a = 1\na = 2", "= 1")
        ),
        (str.encode, "\ud800"),
    ]
    for read, damaged in reading:
        with pytest.raises(ValueError) as caught:
            read(damaged)  # type: ignore[operator]
        yield from (str(caught.value), str(caught.value).partition(" (at ")[0])
    with pytest.raises(ValueError) as caught:
        b"\xff".decode()
    yield str(caught.value)


def modules_of_click() -> list[ModuleType]:
    import click.core
    import click.exceptions
    import click.parser
    import click.types

    return [click.core, click.exceptions, click.parser, click.types]


def test_values_agree() -> None:
    values = re.compile(r"\{(\d+)")
    differing = []
    for text, (name, other) in entries().items():
        here, there = set(values.findall(text)), set(values.findall(other))
        if here != there and not (name in OF_OTHERS and there < here):
            differing.append(text)
    assert differing == []


def test_what_is_counted_has_a_noun() -> None:
    counted = {
        noun
        for path in SOURCE.rglob("*.py")
        for noun in re.findall(
            r"counted\([^\n]*, [\"']([a-z ]+)[\"'](?:, [\"'][a-z ]+[\"'])?\)", path.read_text("utf-8")
        )
    }
    assert len(counted) > 8
    assert counted - table("nouns").keys() == set()


def test_placeholders_stand_in_help() -> None:
    shown = {
        word
        for name in command_names()
        for parameter in lathe.get_command(click.Context(lathe), name).params  # type: ignore[attr-defined]
        for word in str(parameter.make_metavar(click.Context(lathe)) or "").split(" ")
    } | {"[OPTIONS]", "COMMAND", "[ARGS]..."}
    assert table("placeholders").keys() <= shown


def test_taiwans_words() -> None:
    """Full-width punctuation after Chinese, Taiwan's words, and none of the simplified characters."""
    text = "\n".join(other for _, other in entries().values())
    assert re.findall(r"[\u4e00-\u9fff][,;:?!](?: |$)", text, re.MULTILINE) == []
    for word in (
        "合並",
        "文件夾",
        "默認",
        "信息",
        "數據",
        "內存",
        "圖表",
        "箝制",
        "這一家",
        "判決",
        "加載",
        "支持",
    ):
        assert word not in text
