"""Words for prompts inside of a LoRA: kept by resize and combine, within the size asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from checkpoints import tiny_lora, write_safetensors
from loralathe.engine import RunOptions, run_recipe
from loralathe.language import Save, make_recipe
from loralathe.verification import VerifyOptions, verify_file

WORD = "bundle_emb.hina.string_to_param.*"
OTHER = "bundle_emb.sailor.clip_l"


@pytest.fixture
def loras(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for seed, name in enumerate(("one", "two")):
        tensors = tiny_lora("sd1", rank=2, alpha=1.0, seed=seed, width_divisor=64)
        words = {WORD: torch.full((2, 8), float(seed))} | ({OTHER: torch.ones(1, 8)} if seed else {})
        found[name] = write_safetensors(tmp_path / f"{name}.safetensors", tensors | words)
    return found


@pytest.mark.slow
def test_the_first_of_a_name_stays(loras: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    for formula in ("combine(one + 0.5*two)", "resize(one + two, rank=1)"):
        recipe = make_recipe(inputs=loras, steps={"out": formula}, saves=[Save("out", out)])
        run_recipe(recipe, RunOptions(threads=1, force=True))
        made = load_file(out)
        assert {key for key in made if key.startswith("bundle_emb.")} == {WORD, OTHER}
        assert torch.equal(made[WORD], torch.zeros(2, 8))
        assert verify_file(out, options=VerifyOptions(everything=True)).ok
    made = load_file(out) | {WORD: torch.ones(2, 8)}
    with safe_open(out, "pt") as file:
        save_file(made, out, file.metadata())
    findings = verify_file(out).findings
    assert (WORD, "it is not the input's") in {(found.place, found.what) for found in findings}


def test_they_count_in_the_size(loras: dict[str, Path], tmp_path: Path) -> None:
    out, size = tmp_path / "out.safetensors", 150_000
    recipe = make_recipe(
        inputs=loras, steps={"out": f'resize(two, size="{size}B")'}, saves=[Save("out", out)]
    )
    run_recipe(recipe, RunOptions(threads=1))
    assert out.stat().st_size <= size
    assert OTHER in load_file(out)
