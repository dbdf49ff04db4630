"""`lathe tune`: what it says before and after, its files, Ctrl-C, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.kit import Run
from cli_pictures.conftest import QUICK
from loralathe.rendering import LocalRenderer
from studies.fakes import draw

TUNE = ("tune", "baseA.safetensors", "hina.safetensors", "--prompt", "a girl", *QUICK, "--goal", "diversity")
SMALL = ("--budget", "24 pictures", "--check-seeds", "2", "-o", "out")


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalRenderer, "render", draw)


def test_a_plan_says_what_a_grid_would_cost(here: Path, done: Run) -> None:
    result = done(*TUNE, *SMALL, "--sweep", "hina = 0..1", "--sweep", "cfg = 4, 7", "--dry-run")
    assert result.stdout == (
        "would search among 22 candidates\n"
        "  hina        0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1\n"
        "  CFG         4, 7\n"
        "  goals       diversity ↑\n"
        "  pictures    24 at most\n"
        "  a grid      44 pictures on 2 seeds\n"
        "  into        out\n"
    )
    assert not Path("out").exists()


def test_a_search_leaves_a_page_numbers_and_a_recipe(here: Path, done: Run) -> None:
    words = (*TUNE, *SMALL, "--sweep", "hina unet = 0.5, 1", "--sweep", "hina IN04-IN08 = 0, 1", "--json")
    event = json.loads(done(*words).stdout.splitlines()[-1])
    assert set(event["recommended"]) in ({"hina unet", "hina IN04-IN08"}, set())
    assert event["pictures"] <= 24
    assert event["grid_pictures"] == 8
    names = {Path(file).name for file in event["files"]}
    assert names == {"tune.json", "tune.csv", "tune.html", "recommended.toml"}
    assert "likeness" in Path("out/tune.html").read_text(encoding="utf-8")
    again = json.loads(done(*words).stdout.splitlines()[-1])
    assert again["rendered"] <= event["rendered"] / 4, "what is left of the budget, and no picture twice"
    assert again["pictures"] <= 24
    done("run", "out/recommended.toml", "--dry-run")


def test_a_recipes_variable_is_searched_over(here: Path, done: Run) -> None:
    words = ("tune", "--recipe", "article.toml", "--step", "B2", "--prompt", "a girl", *QUICK)
    result = done(*words, *SMALL, "--goal", "diversity", "--sweep", "M = 0, 0.5, 1", "--dry-run", "--json")
    assert json.loads(result.stdout)["axes"] == {"M": ["0", "0.5", "1"]}


def test_an_interrupted_search_goes_on(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalRenderer, "render", stop)
    result = run(*TUNE, *SMALL, "--sweep", "hina = 0, 1")
    assert "the same command goes on from there" in result.output
    assert result.exit_code == 130


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--sweep", "hina = 0, 1", "--goal", "bleed"), "without the trigger word"),
        (("--sweep", "hina = 0, 1", "--trigger", "mio"), "is not in the prompt"),
        (("--sweep", "hina = 0, 1", "--weigh", "diversity"), "is no weight of a goal"),
        (("--sweep", "hina = 0, 1", "--budget", "soon"), "is no budget"),
        ((), "there is nothing to search over"),
        (("--sweep", "hinna = 0, 1"), "there is no axis"),
    ],
)
def test_mistakes_are_told_before_anything_is_rendered(
    here: Path, run: Run, words: tuple[str, ...], what: str
) -> None:
    result = run(*TUNE, *SMALL, *words)
    assert result.exit_code == 2
    assert what in result.output
