"""`--devices`: a grid drawn by several processes is the grid of one, and goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.kit import Run, done, quiet_surroundings, run
from cli_pictures.conftest import QUICK, here
from cli_pictures.conftest import studio as atelier_files

__all__ = ["atelier_files", "done", "here", "quiet_surroundings", "run"]
GRID = (
    "grid",
    "baseA.safetensors",
    "hina.safetensors",
    "--prompt",
    "a girl",
    *QUICK[:-4],
    "--sampler",
    "Euler a",
)


@pytest.fixture(scope="session")
def studio(atelier_files: Path) -> Path:
    return atelier_files


def cells(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder, "cells").iterdir()}


def test_the_plan_says_how_many_processes(here: Path, done: Run) -> None:
    words = ("--x", "hina = 0..1 [5]", "--devices", "cpu,cpu,cpu", "--dry-run")
    assert "processes   3\n" in done(*GRID, *words).stdout
    plan = json.loads(done(*GRID, *words, "--json").stdout.splitlines()[-1])
    assert (plan["estimate"]["device"], plan["estimate"]["processes"]) == ("cpu", 3)


@pytest.mark.slow
def test_sixty_cells_are_those_of_one_process(here: Path, done: Run) -> None:
    axes = ("--x", "hina = 0..1 [10]", "--y", "seed = 1-6", "--scorer", "none")
    done(*GRID, *axes, "--device", "cpu", "-o", "one")
    done(*GRID, *axes, "--devices", "cpu,cpu", "-o", "two")
    assert cells("one") == cells("two")
    assert len(cells("one")) == 120
    assert Path("one/grid.png").read_bytes() == Path("two/grid.png").read_bytes()


@pytest.mark.slow
def test_a_recipe_is_swept_by_several_processes(here: Path, done: Run) -> None:
    words = ("grid", "--recipe", "article.toml", "--step", "B2", "--prompt", "a girl", "--size", "64x64")
    words += ("--steps", "2", "--seed", "7", "--x", "M = 0, 0.7", "--y", "seed = 1-3", "--scorer", "none")
    done(*words, "--device", "cpu", "-o", "one")
    done(*words, "--devices", "cpu,cpu", "-o", "two")
    assert cells("one") == cells("two")
