"""docs/options.md: every fragment under "ours" is used by a command that runs, and matters there."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors import safe_open

from loralathe.cli import lathe
from options.exercises import EXERCISES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"
MARK = re.compile(r"«(.*?)»|‹(.*?)›")
COLUMNS = ["field", "ours", "remark, or why not"]
CASES = [(heading, line) for heading, lines in EXERCISES.items() for line in lines]


@dataclass(frozen=True)
class Row:
    """A field of another program: what it is here, and the remark."""

    heading: str
    field: str
    ours: str
    remark: str


def rows(text: str) -> Iterator[Row]:
    """The rows of the page's tables, under the headings that they stand under."""
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|") and not line.startswith("|-"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            assert len(cells) == len(COLUMNS), line
            if cells != COLUMNS:
                yield Row(heading, *cells)


ROWS = list(rows(PAGE.read_text(encoding="utf-8")))


def plain(line: str) -> str:
    """Without the marks."""
    return re.sub("[«»‹›]", "", line)


def spoken(result: str) -> str:
    """What a command said, less what differs from run to run: times."""
    return re.sub(r"[\d.]+ (?:s|ms|min)\b", "", result)


def contents(path: Path) -> str:
    """Tensors and metadata of an output, less the record, which tells every option; else its bytes."""
    if path.suffix != ".safetensors":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with safe_open(path, "pt") as file:
        metadata = {key: value for key, value in (file.metadata() or {}).items() if key != "loralathe"}
        sums = [f"{key} {file.get_tensor(key).double().sum().item()} {file.get_slice(key).get_dtype()}"
                for key in file.keys()]  # fmt: skip  # noqa: SIM118
    return f"{sorted(metadata.items())} {sums}"


@pytest.fixture(scope="module")
def known() -> dict[str, tuple[str, ...]]:
    """Line → outcome: many lines are the same when they have lost a fragment."""
    return {}


@pytest.fixture
def outcome(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: dict[str, tuple[str, ...]]
) -> Callable[[str], tuple[str, ...]]:
    """A line's output and files; its first words are "failed" when a command of it did."""
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def once(line: str) -> tuple[str, ...]:
        if line not in known:
            known[line] = run(line)
        return known[line]

    def run(line: str) -> tuple[str, ...]:
        folder = tmp_path / hashlib.sha256(line.encode()).hexdigest()[:8]
        folder.mkdir()
        monkeypatch.chdir(folder)
        for path in files.iterdir():
            (folder / path.name).symlink_to(path)
        said = []
        for command in line.split(" && "):
            program, *words = shlex.split(command)
            assert program == "lathe"
            result = CliRunner().invoke(lathe, words, prog_name="lathe")
            if result.exit_code:
                return ("failed", result.output)
            said.append(spoken(result.stdout))
        made = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
        return (*said, *(f"{path.name}: {contents(path)}" for path in made))

    return once


def without(line: str, start: int, end: int) -> str:
    """The line less one fragment; where it was a whole formula, A."""
    formula = line[:start].endswith('lathe eval "')
    return plain(line[:start] + ("A" if formula else "") + line[end:])


def test_every_row_says_what_is_ours_or_why_not() -> None:
    assert len(ROWS) > 100
    for row in ROWS:
        assert row.field
        if row.ours:
            assert not re.sub(r"`[^`]+`", "", row.ours).strip(" ·"), f"{row}: not all of it is marked as code"
        else:
            assert row.remark, f"{row.field}: neither ours nor why not"


@pytest.mark.parametrize("heading", sorted({row.heading for row in ROWS}))
def test_each_fragment_is_exercised_and_each_exercise_is_of_the_page(heading: str) -> None:
    wanted = {text for row in ROWS if row.heading == heading for text in re.findall(r"`([^`]+)`", row.ours)}
    used = {a or b for line in EXERCISES.get(heading, ()) for a, b in MARK.findall(line)}
    assert used == wanted


def test_no_exercise_is_left_over() -> None:
    assert set(EXERCISES) == {row.heading for row in ROWS if row.ours}
    assert all(MARK.search(line) for _, line in CASES)


@pytest.mark.quick(16)
@pytest.mark.parametrize(("heading", "line"), CASES, ids=[plain(line)[6:80] for _, line in CASES])
@pytest.mark.long
def test_the_command_succeeds(outcome: Callable[[str], tuple[str, ...]], heading: str, line: str) -> None:
    found = outcome(plain(line))
    assert found[0] != "failed", found[1]


@pytest.mark.quick(4)
@pytest.mark.parametrize(("heading", "line"), CASES, ids=[plain(line)[6:80] for _, line in CASES])
@pytest.mark.long
def test_each_fragment_matters(outcome: Callable[[str], tuple[str, ...]], heading: str, line: str) -> None:
    found = outcome(plain(line))
    for mark in MARK.finditer(line):
        if mark[1]:
            assert outcome(without(line, *mark.span())) != found, f"{mark[1]} changes nothing ({heading})"
