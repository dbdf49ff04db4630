"""Every console example of docs/pictures.md runs, and prints what the page says it prints."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.kit import Run
from loralathe.rendering import LocalRenderer
from loralathe.studies.axes import AXIS_KINDS
from studies.fakes import draw

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pictures.md"


@dataclass(frozen=True)
class Example:
    """A command of the page and the lines shown below it."""

    command: str
    output: str


def examples(text: str) -> list[Example]:
    """The `$ …` lines of the page's console blocks."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append(Example(command, output))
    return found


EXAMPLES = examples(PAGE.read_text(encoding="utf-8"))


def test_the_page_has_examples_of_every_command() -> None:
    assert {example.command.split()[1] for example in EXAMPLES} == {"render", "grid", "blocks"}
    assert len(EXAMPLES) >= 10


def told(output: str) -> list[str]:
    """The lines without what this machine and the size of the models here decide."""
    measured = r"  (size|steps|time|memory)  .*\n(              .*\n)*"
    return re.sub(measured, "", output, flags=re.MULTILINE).splitlines()


@pytest.mark.quick(8)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.command[6:60])
def test_example(here: Path, done: Run, example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is printed, with a renderer that draws at once."""
    monkeypatch.setattr(LocalRenderer, "render", draw)
    name, *words = shlex.split(example.command)
    assert name == "lathe"
    rendered = "--weights" not in words
    if "--settings" in words:  # made by the example above it
        saving = next(one.command for one in EXAMPLES if "--save-settings" in one.command)
        done(*shlex.split(saving)[1:])
    result = done(*words)
    if example.output:
        assert told(result.stdout) == told(example.output)
    elif rendered:
        assert list(here.rglob("*.png"))


def test_the_page_names_every_axis() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Every axis")[2].partition("## ")[0]
    for kind in AXIS_KINDS:
        assert f"`{kind.names[0]}`" in table, kind.names[0]


def test_the_page_says_what_is_not_there() -> None:
    missing = PAGE.read_text(encoding="utf-8").partition("## Not supported yet")[2]
    for word in ("Variation seeds", "refiner", "img2img", "Flux"):
        assert word in missing
