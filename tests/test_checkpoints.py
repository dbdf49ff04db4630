"""The fixture library itself: true layouts, fitting shapes, deterministic, small."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import checkpoints


@pytest.mark.parametrize(("family", "megabytes"), [("sd1", 9), ("sd2", 11), ("sdxl", 8)])
def test_tiny_checkpoints_have_every_key_and_are_small(family: str, megabytes: int) -> None:
    tensors = checkpoints.tiny_checkpoint(family, seed=1)
    assert tensors.keys() == checkpoints.manifest(checkpoints.FAMILIES[family][0]).keys()
    assert sum(tensor.nbytes for tensor in tensors.values()) < megabytes * 1e6
    again = checkpoints.tiny_checkpoint(family, seed=1)
    other = checkpoints.tiny_checkpoint(family, seed=2)
    key = "model.diffusion_model.out.2.weight"
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    assert not torch.equal(other[key], tensors[key])


@pytest.mark.parametrize(("name", "conv_rank"), [("sd1", 2), ("sdxl", 2), ("sdxl", None), ("sd2", None)])
def test_loras_fit_their_checkpoints(name: str, conv_rank: int | None) -> None:
    from loralathe.families import family_by_id

    family = family_by_id(name)
    base = checkpoints.tiny_specs(name)
    modules = family.modules(base)
    lora = checkpoints.tiny_lora(name, rank=4, alpha=2.0, conv_rank=conv_rank, seed=3)
    for key, up in lora.items():
        if not key.endswith(".lora_up.weight"):
            continue
        raw = key.removesuffix(".lora_up.weight")
        down = lora[f"{raw}.lora_down.weight"]
        name = family.module_of_kohya(raw)
        assert name is not None
        module = modules[name]
        shape = base[module.key].shape
        rows = shape[0] // (module.part[1] if module.part else 1)
        assert (up.shape[0], *down.shape[1:]) == (rows, *shape[1:])
        assert up.shape[1] == down.shape[0] == (2 if down.shape[2:] == (3, 3) else 4)
        assert lora[f"{raw}.alpha"].item() == 2.0


def test_a_second_checkpoint_differs_by_the_noise_asked_for(tmp_path: Path) -> None:
    first = checkpoints.tiny_checkpoint("sd1", seed=1, dtype="F32")
    second = checkpoints.second_checkpoint(first, 0.01, seed=5)
    key = "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight"
    assert (second[key] - first[key]).std().item() == pytest.approx(0.01, rel=0.05)
    ids = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    assert torch.equal(second[ids], first[ids])
    path = checkpoints.write_safetensors(tmp_path / "b.safetensors", second, {"note": "tiny"})
    loaded = load_file(path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in second.items())
