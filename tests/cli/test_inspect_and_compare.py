"""`lathe inspect` and `lathe compare`: what they show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.kit import Run

CHECKPOINT = """\
a.safetensors: SD 1.5 checkpoint
  size        2.2 MB, 1,131 tensors, 1.03 million parameters, fp16, 77 stored as I64
  layout      original, 4 input channels
  predicts    epsilon (SD 1.5 default)
  blocks      26 in all: BASE IN00…IN11 MID OUT00…OUT11
              17 with attention: BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03…OUT11
  kept as is  position ids (1)
  U-Net           854 thousand parameters, 686 tensors, fp16
  text encoder 1  90.2 thousand parameters, 197 tensors, fp16, 77 stored as I64
  VAE             85.7 thousand parameters, 248 tensors, fp16
  modelspec.title  first
"""
ADAPTER = """\
hina.safetensors: LoRA for SD 1.5
  size        255 kB, 792 tensors, 74 thousand parameters, fp16
  layout      kohya names
  modules     264 LoRA
              72 text encoder 1 · 192 U-Net
  rank        4
  alpha       2
  coverage    72 in TE1
              12 each in IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03…OUT11
  ss_output_name  hina
"""


def test_inspect_a_checkpoint(done: Run, models: Path) -> None:
    assert done("inspect", models / "a.safetensors").stdout == CHECKPOINT


def test_inspect_several_files(done: Run, models: Path) -> None:
    shown = done("inspect", models / "hina.safetensors", models / "a.safetensors").stdout
    assert shown == f"{ADAPTER}\n{CHECKPOINT}"


def test_inspect_reads_the_recipe_back(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    done("add-difference", *(models / f"{name}.safetensors" for name in "abc"), "-m", "0.5", "-o", out)
    shown = done("inspect", out).stdout
    assert (
        "as result\n              result = A + M*(B - C)\n              A = a.safetensors  (sha256 " in shown
    )
    assert "              M = 0.5\n" in shown


def test_inspect_json_holds_everything(done: Run, models: Path) -> None:
    lines = done(
        "inspect", models / "a.safetensors", models / "hina.safetensors", "--json", "--norms", "--hash"
    ).stdout
    first, second = (json.loads(line) for line in lines.splitlines() if '"inspection"' in line)
    assert first["file"]["family"] == "sd1"
    assert first["file"]["metadata"]["modelspec.title"] == "first"
    assert second["file"]["adapter"]["ranks"] == {"4": 264}
    assert second["norms"][-1]["block"] == "total"
    assert len(second["hashes"]["SHA-256"]) == 64


def test_compare_shows_blocks_and_total(done: Run, models: Path) -> None:
    shown = done("compare", models / "a.safetensors", models / "b.safetensors").stdout.splitlines()
    assert shown[0] == "weights of X and Y"
    assert shown[3].startswith("  verdict     one is a fine-tune of the other, or both are of one parent")
    assert any(line.strip().startswith("OUT11") for line in shown)
    total = next(number for number, line in enumerate(shown) if line.startswith("  total"))
    assert shown[total + 1].startswith("  columns     cosine: ")
    assert shown[-2].startswith("              they differ by: ‖X−Y‖ relative to the larger")


def test_columns_are_explained(done: Run, models: Path) -> None:
    """Of every table that is not one of plain counts."""
    a, hina, style = (models / f"{name}.safetensors" for name in ("a", "hina", "style"))
    blocks = done("blocks", "--weights", a, hina, style).stdout
    for name in ("‖Δ‖/‖W‖", "energy %", "effective", "90 %, 99 %", "cosine, up, down"):
        assert f" {name}: " in blocks
    assert "up, down: " in done("compare", hina, style).stdout
    assert "norm: size of all numbers together" in done("inspect", "--norms", a).stdout


def test_compare_equal_files(done: Run, models: Path) -> None:
    shown = done("compare", models / "a.safetensors", models / "a.safetensors").stdout
    assert shown.startswith("no difference\n")


@pytest.mark.parametrize("words", [("a", "b", "--base", "c"), ("hina", "style")])
def test_compare_json(done: Run, models: Path, words: tuple[str, ...]) -> None:
    paths = [word if word.startswith("-") else models / f"{word}.safetensors" for word in words]
    event = json.loads(done("compare", *paths, "--json").stdout.splitlines()[-1])
    assert event["event"] == "comparison"
    assert event["identical"] is False
    total = event["comparison"]["total"]
    assert -1 <= total["cosine"] <= 1
    assert 0 < total["up"] <= 1


def test_quiet_keeps_what_was_asked_for(done: Run, models: Path) -> None:
    assert done("inspect", models / "a.safetensors", "-q").stdout == CHECKPOINT
    as_json = done("inspect", models / "a.safetensors", "-q", "--json")
    assert json.loads(as_json.stdout)["event"] == "inspection"
    assert as_json.stderr == ""
