"""The shortened story from end to end on the trained family: files, report, numbers within loose bounds."""

from __future__ import annotations

import filecmp
import html
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loralathe.cli import lathe
from loralathe.demo.family import DATA_VARIABLE
from loralathe.demo.play import CHAPTERS
from loralathe.demo.settings import QUICK
from loralathe.engine import plain_record
from loralathe.tensorfiles import read_header
from printed import fault

pytestmark = pytest.mark.demo


@dataclass(frozen=True)
class Told:
    """A folder in which the demo was played, what it said, and its report."""

    folder: Path
    numbers: dict[str, dict[str, str]]
    page: str

    def share(self, chapter: str, name: str) -> float:
        return float(self.numbers[chapter][name].removesuffix(" %")) / 100

    def commands(self) -> list[list[str]]:
        """Every command of the page, as a shell reads it, and bash, PowerShell and cmd.exe alike."""
        texts = re.findall(r"<pre>(lathe .*?)</pre>", self.page, re.DOTALL)
        lines = [line for text in texts for line in html.unescape(text).splitlines()]
        assert {line: found for line in lines if (found := fault(line))} == {}
        return [shlex.split(line)[1:] for line in lines]


SHORTEST = replace(QUICK, steps=4, strengths=(0, 1), seeds=1, analyzed=1, proof_scenes=1, proof_seeds=2)
"""Every chapter, file and command of the quick story, with half its pictures and half the steps."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, real_family: Path) -> Iterator[Told]:
    """The shortest story; while it is there, `lathe demo --quick` means that one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loralathe.demo.play.QUICK", SHORTEST)
        yield play(tmp_path_factory.mktemp("demo") / "out", real_family, tmp_path_factory)


def play(folder: Path, family: Path, factory: pytest.TempPathFactory) -> Told:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(family))
        patch.setenv("LORALATHE_CACHE", str(factory.getbasetemp() / "cache"))
        result = call("demo", "--out", str(folder), "--quick", "--lang", "en", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[-1]["event"] == "demo"
    page = (folder / "report.html").read_text(encoding="utf-8")
    return Told(folder, events[-1]["chapters"], page)


def call(*words: str) -> Result:
    result = CliRunner().invoke(lathe, list(words), prog_name="lathe")
    assert result.exit_code == 0, result.output
    return result


def check_same(one: Path, other: Path) -> None:
    """The same bytes. Said in few words where they differ: a report on millions of them takes minutes."""
    assert read_header(one).metadata == read_header(other).metadata, one.name
    assert filecmp.cmp(one, other, shallow=False), one.name


def test_it_leaves_models_loras_recipes_and_one_page(told: Told) -> None:
    there = {path.name for path in told.folder.iterdir()}
    assert there >= {
        "baseA.safetensors", "baseB.safetensors", "hina.safetensors", "sailor.safetensors",
        "A_uniform.safetensors", "A_blocks.safetensors", "B1.safetensors", "towards.toml", "away.toml",
        "B2_towards.safetensors", "B2_away.safetensors", "lora2_towards.safetensors", "report.html",
        "hina_r4.safetensors", "hina_r8.safetensors", "hina_r16.safetensors", "settings.toml",
    }  # fmt: skip
    assert not [name for name in there if name.startswith(".")]
    assert set(told.numbers) == set(CHAPTERS)
    assert told.page.count("<img ") > 50


def test_results_remember_how_they_were_made(told: Told) -> None:
    record = plain_record(read_header(told.folder / "lora2_away.safetensors").metadata)
    assert record is not None
    assert "extract(B2 - B" in str(record["steps"])
    assert set(record["inputs"]) == {"A", "B", "hina"}  # type: ignore[call-overload]


def test_exact_and_file_by_file_agree(told: Told) -> None:
    assert 0 < told.share("subtract", "drift") < 0.05


def test_playing_again_makes_nothing_again(
    told: Told, real_family: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(real_family))
    before = {path: path.stat().st_mtime_ns for path in told.folder.rglob("*.safetensors")}
    before |= {path: path.stat().st_mtime_ns for path in told.folder.glob("*/cells/*.png")}
    call("demo", "--out", str(told.folder), "--quick", "--lang", "en", "-q")
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before
    assert (told.folder / "report.html").read_text(encoding="utf-8") == told.page


def test_every_command_of_the_page_gives_what_the_page_shows(
    told: Told, real_family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasted there, a picture command finds its pictures, and a file command makes the same bytes."""
    monkeypatch.setenv(DATA_VARIABLE, str(real_family))
    monkeypatch.chdir(told.folder)
    seen = set()
    for words in told.commands():
        seen.add(words[0])
        if words[0] == "grid":
            there = call(*words, "--dry-run").stdout
            (counts,) = re.findall(r"(\d+) distinct, (\d+) of them there", there)
            assert counts[0] == counts[1], words
        elif words[0] == "blocks":
            assert re.search(r"\b0 rendered, \d+ were there", call(*words).stdout), words
        elif words[0] == "run":
            call(*words, "--dry-run", "--force")
        else:
            at = words.index("-o") + 1
            copy = tmp_path / words[at]
            call(*words[:at], str(copy), *words[at + 1 :], "-q")
            check_same(copy, Path(words[at]))
    assert seen == {"grid", "blocks", "merge", "extract", "eval", "run"}


def test_the_character_travels(told: Told) -> None:
    """What a few steps already show; the full numbers are in the slow test below."""
    first, last = re.findall(r"→ (\d+) %", told.numbers["strength"]["curve"])
    assert int(first) < 30
    assert int(last) > 80
    assert told.share("family", "prompt_b") > 0.5
    assert told.share("subtract", "identity_exact") > 0.7
    assert told.share("proof", "identity_model") > 0.7
    assert told.share("proof", "identity_lora") > 0.7


@pytest.mark.slow
def test_the_numbers_are_those_of_a_character_that_travels(
    tmp_path_factory: pytest.TempPathFactory, real_family: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lathe demo --quick` as it is."""
    monkeypatch.setattr("loralathe.demo.play.QUICK", QUICK)
    told = play(tmp_path_factory.mktemp("quick") / "out", real_family, tmp_path_factory)
    assert told.page.count("<img ") > 50
    assert told.share("family", "prompt_a") > 0.75
    assert told.share("family", "prompt_b") > 0.65
    first, *_, last = re.findall(r"→ (\d+) %", told.numbers["strength"]["curve"])
    assert int(first) < 50
    assert int(last) > 80
    assert told.share("subtract", "identity_exact") > 0.7
    assert told.share("proof", "identity_model") > 0.7
    assert told.share("proof", "prompt_model") > 0.5
    assert told.share("merge", "changed_found") < 0.95 * told.share("merge", "changed_uniform")
    assert told.share("merge", "identity_found") > 0.9
    assert told.share("merge", "others_found") >= told.share("merge", "others_uniform")
    assert told.share("difference", "best") >= told.share("difference", "middle")
    assert told.share("difference", "best_style") >= 0.9
