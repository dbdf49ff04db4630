"""SDXL inside a real ComfyUI: patched weights and the saved file, without sampling.

The base is a file of full size whose data is a hole: its weights are 0, and what is there is what we added.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import loralathe
from checkpoints import manifest, tiny_lora, write_safetensors, write_sparse
from integrations.held import clip_of, unet_of
from integrations.test_in_comfyui import COMFYUI, make_folders, run_graphs
from integrations.test_nodes import lora, node, without_record

LIST = "0.5,1,0,1,1,0.25,1,1,1,1,-1,1"
EVERY = 12
"""One of so many patched weights is compared."""
HALF_A_STEP, SMALLEST_STEP = 2**-11 * (1 + 1e-3), 2**-25 + 1e-8
"""Of fp16, to which the file is rounded; the patches are summed in fp32, in another order."""

pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not COMFYUI, reason="COMFYUI_DIR names no ComfyUI"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("comfyui-sdxl")
    make_folders(folder)
    write_sparse(folder / "models/checkpoints/base.safetensors", manifest("ckpt_sdxl_base"))
    factors = tiny_lora("sdxl", rank=4, alpha=2.0, seed=2, width_divisor=1, std=0.05)
    write_safetensors(folder / "models/loras/hina.safetensors", factors)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def results(base: Path) -> dict[str, Any]:
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "2": lora(model=["1", 0], clip=["1", 1], blocks=LIST, strength_model=0.8, strength_clip=0.5),
    }
    weights = node("PatchedWeights", model=["2", 0], clip=["2", 1], every=EVERY)
    save = node("LatheSave", model=["2", 0], clip=["2", 1], dtype="fp16", file="saved", overwrite=False)
    return run_graphs(base, {"weights": graph | {"3": weights}, "save": graph | {"3": save}}, "--fp16-unet")


def test_patched_weights_are_those_of_the_saved_file(base: Path, results: dict[str, Any]) -> None:
    assert results["weights"]["error"] is None
    assert results["save"]["error"] is None
    patched = load_file(base / "output/patched.safetensors")
    names = [name for name in manifest("ckpt_sdxl_base") if "alphas" not in name]
    with safe_open(base / "output/checkpoints/saved.safetensors", "pt") as file:
        saved = {name: file.get_tensor(name) for name in names if touched(name)}
    held = unet_of(saved) | clip_of(saved)
    assert len(patched) > 40
    assert {key.partition(".")[0] for key in patched} == {"diffusion_model", "clip_l", "clip_g"}
    changed = 0
    for key, weight in patched.items():
        assert torch.allclose(held[key].float(), weight, rtol=HALF_A_STEP, atol=SMALLEST_STEP), key
        changed += bool(weight.any())
    assert changed > 0.8 * len(patched)


def touched(name: str) -> bool:
    """Whether a LoRA of attention layers changes it: others are 0, and many."""
    return any(word in name for word in ("attn", "ff.", "mlp", "proj_in", "proj_out"))


def test_the_saved_file_is_that_of_lathe_merge(base: Path, results: dict[str, Any], tmp_path: Path) -> None:
    assert results["save"]["error"] is None
    use = loralathe.AdapterUse(str(base / "models/loras/hina.safetensors"), te=0.5, unet=0.8, blocks=LIST)
    merged = tmp_path / "merged.safetensors"
    loralathe.merge(base / "models/checkpoints/base.safetensors", use, output=merged, dtype="fp16")
    try:
        assert without_record(base / "output/checkpoints/saved.safetensors") == without_record(merged)
    finally:
        merged.unlink()
