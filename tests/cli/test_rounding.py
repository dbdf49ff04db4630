"""Every command that saves a checkpoint says what rounding leaves of what it adds, in text and in --json."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors import safe_open

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """a and b in fp16, fine like a in fp8, hina and style for them."""
    folder = tmp_path_factory.mktemp("rounding")
    first = tiny_checkpoint("flux-alone", seed=1, width_divisor=64)
    write_safetensors(folder / "a.safetensors", first)
    write_safetensors(folder / "b.safetensors", second_checkpoint(first, 0.01, 2))
    coarse = {key: value.to(torch.float8_e4m3fn) for key, value in first.items()}
    write_safetensors(folder / "coarse.safetensors", coarse)
    for seed, name in enumerate(("hina", "style")):
        tensors = tiny_lora("flux-alone", rank=4, alpha=2, seed=seed, width_divisor=64)
        write_safetensors(folder / f"{name}.safetensors", tensors)
    return folder


COMMANDS = {
    "merge": (["merge", "a", "hina:0.7"], ["hina"]),
    "add-difference": (["add-difference", "a", "b", "a", "-m", "0.5"], ["b - a"]),
    "weighted-sum": (["weighted-sum", "a", "b", "-m", "0.5"], ["b - a"]),
    "convert": (["convert", "a", "--dtype", "bf16"], []),
}


def words(folder, given):
    path = [folder / f"{word.partition(':')[0]}.safetensors" for word in given]
    return [
        word.replace(word.partition(":")[0], str(full), 1) if full.exists() else word
        for word, full in zip(given, path, strict=True)
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_saves_a_checkpoint(done, folder, tmp_path, command):
    given, parts = COMMANDS[command]
    result = done(*words(folder, given), "-o", tmp_path / "out.safetensors", "--json")
    report = next(
        event for event in map(json.loads, result.stdout.splitlines()) if event["event"] == "report"
    )
    found = report["weights"][0]["rounding"]
    assert report["warnings"] == []
    assert [*found["total"]["parts"].values()] == [pytest.approx(1.0, abs=0.01) for _ in parts]
    assert "least held" not in result.stderr, "all blocks hold all"
    if parts:
        assert found["total"]["held"] == pytest.approx(1.0, abs=0.01)
        assert 0 < found["total"]["error"] < 0.1
        assert found["worst"]["block"]
    else:
        assert found == {
            "total": {"block": "total", "held": None, "error": None, "parts": {}},
            "worst": None,
            "better": None,
        }
        assert "nothing added" in result.stderr
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        record = json.loads(file.metadata()["loralathe"])
    assert record.keys() <= {"version", "save", "inputs", "steps", "variables", "blocks", "options"}


def test_lost_parts_are_told_with_a_dtype_that_holds_them(done, folder, tmp_path):
    given = words(folder, ["merge", "coarse", "hina:0.01", "style:0.01"])
    result = done(*given, "-o", tmp_path / "out.safetensors")
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.startswith("  ")}
    assert re.search(r"\d % of what is added, error \S+ %$", lines["held"])
    assert re.search(r"hina \S+ % · style \S+ %$", lines["parts"])
    assert re.search(r"\S+ % in (D00|D01|S00|S01|S02), error \S+ %$", lines["least"])
    assert "--dtype fp16 holds it" in result.stderr
