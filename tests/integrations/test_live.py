"""LoRAs on models in memory: what the patches add is what a merge of the files adds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import loralathe
from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from integrations.held import clip_of, layers_of, unet_of
from loralathe import AdapterUse, InputError, live_patches
from pretended_gpu import DEVICE, pretended_gpu

BLOCKS = {"sd1": "1,0,0.5,1,1,1,1,1,-0.25,1,1,1,1,1,0,1,1", "sdxl": "0.5,1,0,1,1,0.25,1,1,1,1,-1,1"}


def folder_with(family: str, folder: Path) -> tuple[Path, Path]:
    base = write_safetensors(folder / "base.safetensors", tiny_checkpoint(family, seed=1, dtype="F32"))
    lora = write_safetensors(folder / "hina.safetensors", tiny_lora(family, rank=2, alpha=1.0, seed=2))
    return base, lora


def held_in(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All that ComfyUI has of a checkpoint, named as its LoRAs name it."""
    return unet_of(tensors) | {f"text_encoders.{name}": value for name, value in clip_of(tensors).items()}


@pytest.mark.parametrize("family", ["sd1", pytest.param("sdxl", marks=pytest.mark.slow)])
def test_patches_add_what_a_merge_adds(family: str, tmp_path: Path) -> None:
    base, lora = folder_with(family, tmp_path)
    use = AdapterUse(str(lora), te=0.5, unet=-0.8, blocks=BLOCKS[family], elements="IN04-IN08:attn2:0.3")
    merged = loralathe.merge(base, use, output=loralathe.MEMORY, dtype="fp32").tensors["merged"]
    before, after = held_in(load_file(base)), held_in(dict(merged))
    patches = live_patches(use, model=layers_of(before))
    for patch in patches:
        weight = before[f"{patch.layer}.weight"]
        after_patch = weight + patch.added(weight)
        assert torch.allclose(after_patch, after[f"{patch.layer}.weight"], rtol=3e-7, atol=1e-7), patch.layer
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {f"{patch.layer}.weight" for patch in patches}


def test_an_adapter_that_needs_the_weights_sees_the_models_own(tmp_path: Path) -> None:
    base, lora = folder_with("sd1", tmp_path)
    file = dora(lora, tmp_path)
    uses = [AdapterUse(str(lora)), AdapterUse(str(file), te=0.7, unet=0.7)]
    merged = loralathe.merge(base, *uses, output=loralathe.MEMORY, dtype="fp32").tensors["merged"]
    before, after = held_in(load_file(base)), held_in(dict(merged))
    patches = {one.layer: one for one in live_patches(*uses, model=layers_of(before))}
    found = next(
        name for name in patches if name.endswith("input_blocks.4.1.transformer_blocks.0.attn1.to_q")
    )
    weight = before[f"{found}.weight"]
    assert torch.allclose(
        weight + patches[found].added(weight), after[f"{found}.weight"], rtol=1e-6, atol=1e-6
    )


def dora(lora: Path, folder: Path) -> Path:
    """One layer of a LoRA with magnitudes: what it changes depends on the weight."""
    plain = load_file(lora)
    layer = next(key for key in plain if "down_blocks_1_attentions_0" in key and "attn1_to_q" in key)
    layer = layer.partition(".")[0]
    parts = {key: value for key, value in plain.items() if key.startswith(layer + ".")}
    height = parts[f"{layer}.lora_up.weight"].shape[0]
    scale = {f"{layer}.dora_scale": torch.linspace(0.5, 2, height).reshape(-1, 1)}
    return write_safetensors(folder / "dora.safetensors", parts | scale)


def test_the_change_is_made_where_the_weight_is(tmp_path: Path) -> None:
    base, lora = folder_with("sd1", tmp_path)
    held = held_in(load_file(base))
    patches = live_patches(lora, dora(lora, tmp_path), model=layers_of(held))
    chosen = [max(patches, key=lambda patch: len(patch.terms)), patches[0], patches[-1]]
    assert len(chosen[0].terms) == 2
    for patch in chosen:
        weight = held[f"{patch.layer}.weight"].half()
        with pretended_gpu():
            there = patch.added(weight.to(DEVICE))
            assert (there.device, there.dtype) == (DEVICE, torch.float32)
            found = there.cpu()
        assert torch.allclose(found, patch.added(weight), rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    base, lora = folder_with("sd1", tmp_path)
    layers = layers_of(held_in(load_file(base)))
    denoiser = {name: shape for name, shape in layers.items() if name.startswith("diffusion_model.")}
    with pytest.raises(InputError, match="have no place in the base"):
        live_patches(lora, model=denoiser)
    assert live_patches(AdapterUse(str(lora), te=0), model=denoiser)
    with pytest.raises(InputError, match="no module of the LoRA is in the base"):
        live_patches(lora, model={"diffusion_model.blocks.0.mlp": (4, 4)})
    wide = {name: (*shape[:1], 2 * shape[1], *shape[2:]) for name, shape in layers.items() if len(shape) > 1}
    with pytest.raises(InputError, match="shapes of"):
        live_patches(lora, model=wide)
    with pytest.raises(InputError, match="does not fit"):
        live_patches(AdapterUse(str(lora), blocks="1,0,1"), model=layers)


def test_names_of_lists_are_the_persons_and_the_familys(tmp_path: Path) -> None:
    names = loralathe.block_preset_names({"Face": "IN04=0.3"})
    assert names[0] == "Face"
    assert {"ALL", "NONE", "OUTALL"} <= set(names)
    file = tmp_path / "lbwpresets.txt"
    file.write_text("MyFace:1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1\n", "utf-8")
    assert loralathe.block_preset_names(file)[0] == "MyFace"
