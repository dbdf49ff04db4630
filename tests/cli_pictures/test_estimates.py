"""--dry-run says how many pictures, what size, how many steps, what they take; a run measures its steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.kit import Run

SMALL = ("--prompt", "girl", "--size", "64x64", "--steps", "3", "--device", "cpu", "--seed", "1")
GRID = ("grid", "baseA", "hina", *SMALL, "--x", "hina = 0, 1", "--scorer", "none", "-o", "out")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "cache"))


def facts(text: str) -> dict[str, str]:
    """Label → value of the lines shown."""
    found: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        label, value = line[2:14].strip(), line[14:].strip()
        if label:
            found[label] = value
        else:
            found[list(found)[-1]] += f" {value}"
    return found


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (("render", "baseA", "hina", *SMALL, "--count", "4"), "12 in all"),
        (GRID, "6 in all"),
        (("blocks", "baseA", "hina", *SMALL, "--blocks", "BASE, MID"), "9 in all"),
    ],
)
def test_a_dry_run_says_what_it_takes(here: Path, done: Run, words: tuple[str, ...], steps: str) -> None:
    shown = facts(done(*words, "--dry-run").stdout)
    assert (shown["size"], shown["steps"]) == ("64×64", steps)
    assert "a guess by the model's size" in shown["time"]
    assert "MB in main memory for one picture" in shown["memory"]
    assert "(computed)" in shown["memory"]
    low = facts(done(*words, "--dry-run", "--low-vram").stdout)
    assert low["memory"] == shown["memory"]  # networks would wait in the same memory


def test_after_a_run_the_time_is_known_and_what_is_there_takes_none(here: Path, done: Run) -> None:
    done(*GRID)
    more = tuple("hina = 0, 0.5, 1" if word == "hina = 0, 1" else word for word in GRID)
    shown = facts(done(*more, "--dry-run").stdout)
    assert shown["steps"] == "3 in all"
    assert "(measured here at 64×64)" in shown["time"]
    assert {"time", "memory", "steps"}.isdisjoint(facts(done(*GRID, "--dry-run").stdout))
    lines = done(*more, "--dry-run", "--json").stdout.splitlines()
    (plan,) = (event for event in map(json.loads, lines) if event["event"] == "plan")
    assert (plan["estimate"]["pictures"], plan["estimate"]["steps"]) == (1, 3)
    assert plan["estimate"]["time"]["seconds"] > 0
    assert plan["estimate"]["memory"]["one"] > plan["estimate"]["memory"]["more"] > 0
