"""`lathe check`: the sentence, the reasons, the command that mends it, the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from checkpoints import write_safetensors
from cli.kit import Run

STEM = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def test_what_is_ignored_and_what_mends_it(run: Run, done: Run, tmp_path: Path) -> None:
    tensors = {f"{STEM}.lora_B.weight": torch.ones(8, 2), f"{STEM}.lora_A.weight": torch.ones(2, 8)}
    path = write_safetensors(tmp_path / "hina.safetensors", tensors)
    found = run("check", path, "--in", "comfyui")
    assert found.exit_code == 2
    first, *_, last = found.stdout.splitlines()
    assert first == "ComfyUI uses 0 of 1 module of hina.safetensors"
    assert "1: a name that it does not look for" in found.stdout
    assert last.split() == ["lathe", "convert", str(path), "--to", "kohya"]
    done("convert", path, "--to", "kohya")
    mended = done("check", tmp_path / "hina-kohya.safetensors", "--in", "comfyui", "--in", "forge")
    assert mended.stdout.splitlines()[0] == "ComfyUI uses all 1 module of hina-kohya.safetensors"


def test_json(run: Run, tmp_path: Path) -> None:
    tensors = {f"{STEM}.lora_B.weight": torch.ones(8, 2), f"{STEM}.lora_A.weight": torch.ones(2, 8)}
    path = write_safetensors(tmp_path / "hina.safetensors", tensors)
    events = [json.loads(line) for line in run("check", path, "--json", "-q").stdout.splitlines()]
    assert [(one["loading"]["program"], one["ok"]) for one in events] == [
        ("comfyui", False), ("forge", False), ("diffusers", True), ("kohya", False),
    ]  # fmt: skip
    assert events[0]["loading"]["findings"][0]["modules"] == [STEM]
    assert events[0]["mend"].endswith("--to kohya")
