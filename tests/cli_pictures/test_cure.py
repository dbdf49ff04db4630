"""`lathe cure` on small models that really render: the plan, the file, the same call again, its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cli.kit import Run
from cli_pictures.conftest import QUICK
from loralathe.tensorfiles import read_header

CURE = (
    "cure", "baseA.safetensors", "hina.safetensors", "--trigger", "hina", "--prompt", "hina, a girl", *QUICK,
    "--scorer", "tests=1", "--watch", "1", "--first-seeds", "2", "--most-seeds", "2", "--check-seeds", "2",
)  # fmt: skip


@pytest.fixture(autouse=True)
def redness(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a judge: the mean of the red channel."""
    from cli_pictures.test_tune_rendered import Redness

    monkeypatch.setattr("loralathe.cli.commands.cure.scorers_named", lambda _: [Redness()])


def test_a_plan_says_what_would_be_looked_at(done: Run) -> None:
    result = done(*CURE, "--dry-run")
    assert "goals        likeness up, bleed down" in result.stdout
    assert "looked into  2 pictures" in result.stdout
    assert not Path("hina-cured-study").exists()
    assert not Path("hina-cured.safetensors").exists()


@pytest.mark.slow
def test_it_writes_a_lora_of_the_same_names_and_goes_on_for_nothing(done: Run) -> None:
    words = (*CURE, "--keep", "100", "--json")
    told = {line["event"]: line for line in map(json.loads, done(*words).stdout.splitlines())}
    assert told["cure"]["levels"] != [0, 0, 0]
    before, after = load_file("hina.safetensors"), load_file("hina-cured.safetensors")
    assert {key: tensor.shape for key, tensor in before.items()} == {
        key: tensor.shape for key, tensor in after.items()
    }
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.endswith("lora_down.weight") for key in changed)
    note = json.loads(read_header(Path("hina-cured.safetensors")).metadata["loralathe_cure"])
    assert note["trigger"] == ["hina"]
    assert set(note["measured"]) == {"likeness", "bleed"}
    assert Path("hina-cured-study/cure.png").is_file()
    assert Path("hina-cured-study/cure.html").is_file()
    again = {line["event"]: line for line in map(json.loads, done(*words, "--force").stdout.splitlines())}
    assert told["cure"]["rendered"] > 0
    assert again["cure"]["rendered"] == 0
    assert again["cure"]["levels"] == told["cure"]["levels"]
    done(*words, "--force", "--refine", "2")
    refined = load_file("hina-cured.safetensors")
    assert {key for key in before if not torch.equal(after[key], refined[key])} > changed


def test_errors_come_before_pictures(run: Run) -> None:
    cases = {
        ("--trigger", "mio"): "the trigger word 'mio' is not in the prompt",
        ("--people", "hina, a boy"): "'hina' is in a prompt of other people",
        ("--devices", "cpu,cpu"): "there is no option '--devices'",
    }
    for words, told in cases.items():
        result = run(*CURE, *words)
        assert told in " ".join(result.output.split())
        assert result.exit_code == 2
    assert not Path("hina-cured-study").exists()
