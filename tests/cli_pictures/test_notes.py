"""What a person is told without being stopped: words and numbers that were probably not meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpoints import write_safetensors
from cli.kit import Run
from cli_pictures.conftest import QUICK
from rendering.conftest import make_checkpoint
from rendering.test_vocabulary import taught

WORDS = (
    "lathe: note: these words say nothing to this model: 'dog'\n"
    "    it knows these, one by one or together: a, beret, cat, tree\n"
)
SMALL = ("small.safetensors", "hina.safetensors", "--prompt", "a dog, cat", *QUICK)
RECIPE = """
[inputs]
S = "small.safetensors"
[variables]
M = 1
[steps]
made = "M*S + (1 - M)*S"
[save]
made = { file = "made.safetensors" }
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    write_safetensors(path, taught(make_checkpoint("sd1")))
    return path


@pytest.mark.long
@pytest.mark.parametrize("command", ["render", "grid", "blocks"])
def test_words_without_a_meaning_are_told(here: Path, small: Path, done: Run, command: str) -> None:
    (here / small.name).symlink_to(small)
    more = ["--x", "cfg = 1"] if command == "grid" else ["--blocks", "MID"] if command == "blocks" else []
    assert WORDS in done(command, *SMALL, *more, "--steps", 1, "--dry-run").stderr
    assert done(command, *SMALL, *more, "--steps", 1).stderr.count(WORDS) == 1


def test_words_of_a_recipe_and_of_search_and_replace(here: Path, small: Path, done: Run) -> None:
    (here / small.name).symlink_to(small)
    (here / "made.toml").write_text(RECIPE, encoding="utf-8")
    words = ("grid", "--recipe", "made.toml", "--prompt", "cat", "--x", "s/r = cat, dog", *QUICK)
    assert WORDS in done(*words, "--dry-run").stderr
    assert done(*words, "--y", "M = 1, 2", "--steps", 1).stderr.count(WORDS) == 1


def test_decimal_commas_are_told(here: Path, done: Run) -> None:
    words = ("grid", "baseA.safetensors", "hina.safetensors", "--prompt", "girl", *QUICK, "--dry-run", "--x")
    note = "axis hina: '0, 0,3, 0,5' is read as 5 whole numbers; a decimal has a point: 0, 0.3, 0.5"
    assert done(*words, "hina = 0, 0,3, 0,5").stderr == f"lathe: note: {note}\n"
    assert done(*words, "hina = 0, 1").stderr == ""


def test_the_live_page_is_told_before_the_first_picture(here: Path, done: Run) -> None:
    words = (
        "grid",
        "baseA.safetensors",
        "--prompt",
        "girl",
        "--x",
        "seed = 1",
        *QUICK,
        "--steps",
        1,
        "-o",
        "g",
    )
    assert "watch" not in done(*words, "--dry-run").stderr
    first = done(*words).stderr.splitlines()
    assert first == [
        "lathe: note: 1 cell",
        "lathe: note: watch g/grid.html: it shows the pictures as they are made",
    ]
    assert "watch" not in done(*words).stderr, "every picture is there"


@pytest.mark.quick(1)
@pytest.mark.parametrize("command", ["grid", "blocks"])
def test_a_folder_of_another_study(here: Path, run: Run, done: Run, command: str) -> None:
    more = ["--x", "cfg = 1, 2"] if command == "grid" else ["--blocks", "MID"]
    first = (command, "baseA.safetensors", "hina.safetensors", *QUICK, "--steps", 1, *more, "-o", "s")
    done(*first, "--prompt", "girl")
    assert "another study" not in done(*first, "--prompt", "girl", "--dry-run").stderr
    note = "lathe: note: s belongs to another study: replace it with --force\n"
    assert note in done(*first, "--prompt", "boy", "--dry-run").stderr
    refused = run(*first, "--prompt", "boy")
    assert (refused.exit_code, refused.stderr) == (
        2,
        "lathe: error: the folder belongs to another study\n  where: s, not the same: prompt\n"
        "  fix:   choose another with -o FOLDER, or replace it: --force\n",
    )
    assert note not in done(*first, "--prompt", "boy", "--force", "--dry-run").stderr
    done(*first, "--prompt", "boy", "--force")
