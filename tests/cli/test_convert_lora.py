"""`lathe convert LORA --to …`: what it says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import write_safetensors
from cli.kit import Run

STEM = "lora_unet_single_blocks_0_linear2"


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    tensors = {f"{STEM}.lora_up.weight": torch.ones(8, 2), f"{STEM}.lora_down.weight": torch.ones(2, 40)}
    return write_safetensors(tmp_path / "hina.safetensors", {**tensors, f"{STEM}.alpha": torch.tensor(1.0)})


def test_the_report_and_the_file(done: Run, lora: Path) -> None:
    assert done("convert", lora, "--to", "peft").stdout == (
        f"→ {lora.parent / 'hina-peft.safetensors'}\n"
        "  modules     1 LoRA\n"
        "  names       from kohya to peft\n"
        "  stored as   fp32\n"
    )
    made = load_file(lora.parent / "hina-peft.safetensors")
    stem = "transformer.single_transformer_blocks.0.proj_out"
    assert torch.equal(made[f"{stem}.lora_B.weight"] @ made[f"{stem}.lora_A.weight"], torch.ones(8, 40))


def test_a_dry_run_writes_nothing(done: Run, lora: Path) -> None:
    event = json.loads(done("convert", lora, "--to", "comfyui", "--dry-run", "--json").stdout)
    assert (event["event"], event["path"], event["source"], event["dialect"]) == (
        "converted", None, "kohya", "comfyui",
    )  # fmt: skip
    assert [path.name for path in lora.parent.iterdir()] == ["hina.safetensors"]


def test_a_kind_that_the_names_cannot_say(run: Run, done: Run, tmp_path: Path) -> None:
    tensors = {f"{STEM}.lokr_w1": torch.randn(2, 2), f"{STEM}.lokr_w2": torch.randn(4, 20)}
    lokr = write_safetensors(tmp_path / "lokr.safetensors", tensors)
    found = run("convert", lokr, "--to", "diffusers")
    assert found.exit_code == 2
    assert "1 module cannot be written for diffusers: 1 LoKr" in found.stderr
    assert "--bake BASE makes a plain LoRA from it" in found.stderr
    assert "cut off %" in done("convert", lokr, "--to", "diffusers", "--rank", 2).stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "to write a LoRA for another program, add --to diffusers"),
        (("--to", "peft", "--discard", "x"), "--discard is for checkpoints"),
        (("--rank", "4"), "--bake, --rank and --family are for LoRAs"),
        (("--to", "pefft"), "'pefft' is not one of 'kohya'"),
    ],
)
def test_what_does_not_go_together(run: Run, lora: Path, words: tuple[str, ...], text: str) -> None:
    found = run("convert", lora, *words)
    assert found.exit_code == 2
    assert text in found.stderr
