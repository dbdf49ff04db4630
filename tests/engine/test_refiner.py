"""The SDXL refiner through the engine, on a narrow file of its true layout, against float64 numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

import loralathe
from checkpoints import manifest, tiny_checkpoint, tiny_lora, write_safetensors
from engine.reference import as_float64, assert_within_contract, lora_delta, lora_names
from rendering.conftest import shallow

UNET = "model.diffusion_model."
KEYS = {
    f"lora_unet_{key.removeprefix(UNET).removesuffix('.weight').replace('.', '_')}": key
    for key in manifest("ckpt_sdxl_refiner")
    if key.startswith(UNET) and key.endswith(".weight")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("refiner")
    whole = shallow(tiny_checkpoint("sdxl-refiner", seed=1, width_divisor=64))
    base = {key: tensor for key, tensor in whole.items() if not key.startswith("first_stage_model.")}
    write_safetensors(made / "base.safetensors", base)
    lora = tiny_lora("sdxl-refiner", rank=2, alpha=1.0, seed=3, width_divisor=64)
    write_safetensors(made / "lora.safetensors", shallow(lora))
    return made


def test_merge_by_blocks_and_extract(folder: Path, tmp_path: Path) -> None:
    base, lora = load_file(folder / "base.safetensors"), load_file(folder / "lora.safetensors")
    merged, made = tmp_path / "merged.safetensors", tmp_path / "made.safetensors"
    loralathe.merge(folder / "base.safetensors", f"{folder / 'lora.safetensors'}:0.5:lbw=MID=2,OUT08=0",
                    output=merged, dtype="fp32", threads=1)  # fmt: skip
    result, weights, touched = load_file(merged), as_float64(base), set()
    for name in lora_names(lora):
        key = KEYS[name]
        factor = 0.5 * (2 if "middle_block" in key else 0 if "output_blocks.8." in key else 1)
        change = factor * lora_delta(lora, name)
        assert_within_contract(result[key], weights[key] + change, weights[key], np.abs(change), key)
        touched.add(key)
    assert all(np.array_equal(result[key].double().numpy(), weights[key]) for key in base.keys() - touched)
    loralathe.extract(merged, folder / "base.safetensors", rank=2, output=made, dtype="fp32", threads=1)
    found = load_file(made)
    for name in lora_names(found):
        wanted = 0.5 * (2 if "middle_block" in name else 1) * lora_delta(lora, name)
        assert np.linalg.norm(lora_delta(found, name) - wanted) <= 1e-4 * np.linalg.norm(wanted), name
    with safe_open(str(made), "pt") as file:
        assert file.metadata()["modelspec.architecture"] == "stable-diffusion-xl-v1-refiner/lora"
    assert loralathe.inspect(made).family == "sdxl-refiner"
