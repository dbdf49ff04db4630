"""`lathe soup` with pictures: the plan, sentences and files, the same call again, Ctrl-C."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from checkpoints import write_safetensors
from cli.kit import Run
from cli_pictures.conftest import QUICK
from loralathe.rendering import LocalRenderer
from rendering.conftest import make_lora
from studies.fakes import draw

SOUP = (
    "soup", "hina-1.safetensors", "hina-2.safetensors", "--base", "baseA.safetensors",
    "--prompt", "a girl", *QUICK, "--scorer", "family", "--goal", "diversity",
    "--most-seeds", "4", "--check-seeds", "4", "--threads", "1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def two_epochs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalRenderer, "render", draw)
    for seed in (1, 2):
        write_safetensors(here / f"hina-{seed}.safetensors", make_lora("sd1", seed=seed))


def test_a_plan_says_how_many_pictures_at_most(done: Run) -> None:
    result = done(*SOUP, "--dry-run")
    assert "goals       diversity up" in result.stdout
    assert "pictures    20 at most" in result.stdout
    assert not Path("hina-study").exists()
    assert not Path("hina-soup.safetensors").exists()


def test_it_tells_what_it_found_and_goes_on_for_nothing(done: Run) -> None:
    words = (*SOUP, "--rank", "2", "--json")
    first = [json.loads(line) for line in done(*words).stdout.splitlines()]
    (told,) = (event for event in first if event["event"] == "soup")
    assert set(told["weights"]) == {"hina-1", "hina-2"}
    assert sum(told["weights"].values()) == 1.0
    assert told["sentences"][0] in ("The best single epoch is hina-1.", "The best single epoch is hina-2.")
    assert Path("hina-soup.safetensors").is_file()
    assert Path("hina-soup-study/soup.json").is_file()
    again = [json.loads(line) for line in done(*words, "--force").stdout.splitlines()]
    (twice,) = (event for event in again if event["event"] == "soup")
    assert twice["weights"] == told["weights"]
    assert told["rendered"] > 0
    assert twice["rendered"] == 0


def test_weights_that_are_given_are_looked_at(done: Run) -> None:
    result = done(*SOUP, "--weights", "1,3")
    assert "fresh seeds the soup's diversity is" in " ".join(result.stdout.split())
    assert Path("hina-soup-study/soup.png").is_file()


def test_an_interrupted_soup_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalRenderer, "render", stop)
    result = run(*SOUP)
    assert "the same command goes on from there" in result.output
    assert result.exit_code == 130
    assert not Path("hina-soup.safetensors").exists()


def test_an_output_that_exists_is_told_before_pictures(run: Run) -> None:
    Path("hina-soup.safetensors").write_bytes(b"")
    result = run(*SOUP)
    assert "the output exists" in result.output
    assert not Path("hina-soup-study").exists()
