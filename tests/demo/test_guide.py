"""Every command of the guide runs, on small models that draw nothing; both languages have the same ones.

What the guide quotes is what the program prints: in English as its commands do, in Chinese by the catalogue.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from checkpoints import second_checkpoint, write_safetensors
from cli.kit import Run, quiet_surroundings, run
from demo.conftest import PACKAGED
from loralathe import read_catalogue, write_settings
from loralathe.cli import lathe
from loralathe.demo.family import DATA_VARIABLE, find_family, unpack_family
from loralathe.demo.settings import DIRECTIONS, FULL, PROFILE, recipe_text
from loralathe.progress import Progress
from loralathe.rendering import LocalRenderer
from loralathe.rendering.vocabulary import vocabulary_of
from rendering.conftest import make_checkpoint, make_lora
from studies.fakes import draw

__all__ = ["quiet_surroundings", "run"]
DOCS = Path(__file__).resolve().parents[2] / "docs"
ENTER = "cd demo-out"
TITLE = "[Lora] 減法拆分融合 - 製作專屬特徵人物"
"""Of the article, the only words that the guide quotes from elsewhere."""
SMALL = {"modelspec.resolution": "64x64"}
"""The models say their size, so that the commands run as they are printed."""


def commands(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line]


def test_both_languages_have_the_same_commands() -> None:
    assert commands("guide.md") == commands("guide.zh-TW.md")
    assert len(commands("guide.md")) > 20
    assert commands("guide.md")[:2] == ["lathe demo", ENTER]


def test_the_commands_of_the_tiny_family_are_short() -> None:
    """Its settings come from a profile and from the models, not from five options."""
    for command in commands("guide.md"):
        assert {"--size", "--cfg", "--negative"}.isdisjoint(command.split()), command


@pytest.mark.demo
def test_every_command_runs_in_the_order_of_the_page(
    tmp_path: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(parts))
    monkeypatch.setattr(LocalRenderer, "render", draw)
    monkeypatch.chdir(tmp_path)
    first = make_checkpoint("sdxl")
    write_safetensors(tmp_path / "baseA.safetensors", first, SMALL)
    write_safetensors(tmp_path / "baseB.safetensors", second_checkpoint(first, 0.02, 2), SMALL)
    for seed, name in enumerate(("hina", "sailor")):
        write_safetensors(tmp_path / f"{name}.safetensors", make_lora("sdxl", seed=seed))
    for direction, sign, title in DIRECTIONS:
        text = recipe_text(direction, sign, title, "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1")
        (tmp_path / f"{direction}.toml").write_text(text, encoding="utf-8")
        for made in ("B2", "lora2"):  # the demo has run its recipes, so what they save is there
            (tmp_path / f"{made}_{direction}.safetensors").write_bytes(b"what the demo left here")
    write_settings(tmp_path / PROFILE, replace(FULL, steps=1).of_pictures())
    for command in commands("guide.md"):
        if command == ENTER:
            continue
        name, verb, *words = shlex.split(command)
        assert name == "lathe"
        if verb == "demo":
            continue  # test_demo.py
        rendered = verb in ("grid", "blocks") and "--weights" not in words
        result = CliRunner().invoke(lathe, [verb, *words], prog_name="lathe")
        assert result.exit_code == 0, f"{command}\n{result.output}"
        if rendered:
            assert list((tmp_path / words[words.index("--out") + 1]).glob("cells/*.png")), command


def quotes(page: str, marks: str) -> list[str]:
    """What stands between quotation marks, outside of code."""
    prose = re.sub(r"```.*?```|`[^`]*`", "`", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return [found for found in re.findall(marks, " ".join(prose.split())) if found != TITLE]


def test_quotes_in_chinese_are_those_of_the_program() -> None:
    """Of the same texts, in the same order, as the catalogue has them."""
    english, chinese = quotes("guide.md", '"([^"]*)"'), quotes("guide.zh-TW.md", "「([^」]*)」")
    catalogue = read_catalogue("zh-TW")
    assert chinese == [catalogue.label(text) for text in english]
    assert len(english) >= 7


def test_quotes_about_loras_are_those_of_the_program() -> None:
    """The reports of extract, combine and resize."""
    quoted = [text for text in quotes("loras.md", '"([^"]*)"') if text]
    catalogue = read_catalogue("zh-TW")
    assert [text for text in quoted if catalogue.label(text) == text] == []
    chinese = quotes("loras.zh-TW.md", "「([^」]*)」")
    assert [text for text in quoted if catalogue.label(text) not in chinese] == []
    assert len(quoted) >= 7


@pytest.mark.demo
def test_what_the_guide_quotes_is_printed(
    tmp_path: Path, real_family: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its commands about files, on the models that ship."""
    monkeypatch.chdir(tmp_path)
    unpack_family(tmp_path, find_family(real_family), Progress())
    printed = ""
    for command in commands("guide.md"):
        _, verb, *words = shlex.split(command)
        if verb in ("merge", "extract", "compare", "add-difference") and "exact.safetensors" not in words:
            printed += run(verb, *words).stdout
    shown = " ".join(printed.split())
    assert [text for text in quotes("guide.md", '"([^"]*)"') if text not in shown] == []


@pytest.mark.parametrize("page", ["guide.md", "guide.zh-TW.md"])
def test_the_words_of_the_family_are_listed(page: str) -> None:
    """All that the shipped models know, and nothing else."""
    known = vocabulary_of(PACKAGED / "shared.safetensors")
    assert known is not None
    section = (DOCS / page).read_text(encoding="utf-8").partition("## 0")[2].partition("## 1")[0]
    cells = re.findall(r"^\|[^|]*\|([a-z, ]+)\|$", section, re.MULTILINE)
    listed = {word for cell in cells if cell != " words " for word in re.findall(r"[a-z]+", cell)}
    assert listed == set(known.words)
    assert "hina, smiling, navy shirt, forest" in (DOCS / page).read_text(encoding="utf-8")
    assert known.lacks("hina, smiling, navy shirt, forest") == []
