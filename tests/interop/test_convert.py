"""diffusers and PEFT load what `convert --to` writes for them, and add the same to every weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from checkpoints import raw_manifest, tiny_checkpoint, tiny_lora
from loralathe import MEMORY, convert_lora, in_memory
from loralathe.adapters import delta, load_factors, open_adapter

pytest.importorskip("peft", reason="needs peft")
pytest.importorskip("diffusers", reason="needs diffusers")
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from diffusers.loaders import (
    FluxLoraLoaderMixin,
    StableDiffusionLoraLoaderMixin,
    StableDiffusionXLLoraLoaderMixin,
)
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from torch.nn import Module

from interop.models import UNET, unet_config

WIDTH, RANK = 32, 4
FLUX: dict[str, Any] = {
    "patch_size": 1, "in_channels": 4, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 8,
    "num_attention_heads": 4, "joint_attention_dim": 16, "pooled_projection_dim": 16,
    "axes_dims_rope": (2, 2, 4),
}  # fmt: skip
LAYERS = {
    "double_blocks.1.img_attn.qkv": (3, 1), "double_blocks.0.txt_attn.qkv": (3, 1),
    "double_blocks.0.img_mlp.0": (4, 1), "double_blocks.1.txt_mod.lin": (6, 1),
    "single_blocks.0.linear1": (7, 1), "single_blocks.1.linear2": (1, 5),
    "final_layer.adaLN_modulation.1": (2, 1),
}  # fmt: skip
"""Layers of Flux → rows and inputs, in widths."""


def flux_lora() -> dict[str, torch.Tensor]:
    found = {}
    for number, (path, (rows, inputs)) in enumerate(LAYERS.items()):
        stem, generator = f"lora_unet_{path.replace('.', '_')}", torch.Generator().manual_seed(number)
        found[f"{stem}.lora_up.weight"] = torch.randn(rows * WIDTH, RANK, generator=generator).half()
        found[f"{stem}.lora_down.weight"] = torch.randn(RANK, inputs * WIDTH, generator=generator).half()
        found[f"{stem}.alpha"] = torch.tensor(3.0)
    return found


def wanted(tensors: Mapping[str, torch.Tensor], names: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """diffusers' key → what is added to it, in float64. names: diffusers' key → the original one."""
    with open_adapter(in_memory(tensors)) as adapter:
        deltas = {
            f"{name.removeprefix('unet.')}.weight": delta(
                load_factors(adapter, one, torch.float64), one.shape
            )
            for name, one in adapter.modules.items()
            if name.startswith("unet.")
        }
    found = {}
    for key, entry in names.items():
        place = entry if isinstance(entry, dict) else {"original": entry}
        change = deltas.get(str(place["original"]).removeprefix(UNET))
        if change is None:
            continue
        if "rows" in place:
            unit = 3072 // WIDTH
            change = change[place["rows"][0] // unit : place["rows"][1] // unit]
        found[key] = change.roll(len(change) // 2, 0) if place.get("halves_swapped") else change
    return found


def changes(model: Module, before: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    after = {key.replace(".base_layer", ""): tensor for key, tensor in model.state_dict().items()}
    found = {key: after[key] - tensor for key, tensor in before.items()}
    return {key: change for key, change in found.items() if change.any()}


def check(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == {key for key, change in expected.items() if change.any()}
    for key, change in found.items():
        assert torch.allclose(change, expected[key].reshape(change.shape), rtol=0, atol=1e-11), key


def load_with_peft(model: Module, tensors: Mapping[str, torch.Tensor], folder: str) -> None:
    own = {
        key.removeprefix(f"{folder}."): tensor for key, tensor in tensors.items() if key.startswith(folder)
    }
    ranks = {
        key.removesuffix(".lora_A.weight"): tensor.shape[0]
        for key, tensor in own.items()
        if key.endswith(".lora_A.weight")
    }
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, rank_pattern=ranks, alpha_pattern=ranks, target_modules=list(ranks)
    )
    wrapped = get_peft_model(model, config)
    loaded = set_peft_model_state_dict(wrapped, {f"base_model.model.{key}": one for key, one in own.items()})
    assert not loaded.unexpected_keys
    wrapped.merge_adapter()


@pytest.mark.parametrize("to", ["peft", "diffusers"])
def test_flux(to: str) -> None:
    given = flux_lora()
    made = convert_lora(given, to, output=MEMORY)
    model = FluxTransformer2DModel(**FLUX).double()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state, alphas, notes = FluxLoraLoaderMixin.lora_state_dict(
        dict(made.tensors), return_alphas=True, return_lora_metadata=True
    )
    FluxLoraLoaderMixin.load_lora_into_transformer(state, alphas, model, metadata=notes)
    model.fuse_lora()
    expected = wanted(given, raw_manifest("map_flux_transformer"))
    check(changes(model, before), expected)
    if to == "peft":
        other = FluxTransformer2DModel(**FLUX).double()
        other.load_state_dict(before)
        load_with_peft(other, made.tensors, "transformer")
        check(changes(other, before), expected)


@pytest.mark.long
@pytest.mark.parametrize("to", ["peft", "diffusers"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_unets(family: str, to: str) -> None:
    given = tiny_lora(family, rank=RANK, alpha=2, conv_rank=2, seed=1)
    modules = sorted({key.split(".")[0] for key in given if key.startswith("lora_unet_")})[::15]
    given = {key: tensor for key, tensor in given.items() if key.split(".")[0] in modules}
    made = convert_lora(given, to, output=MEMORY)
    model = UNet2DConditionModel(**unet_config(family, tiny_checkpoint(family, seed=1))).double()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    names = {str(value): key for key, value in raw_manifest(f"map_{family.replace('1', '15')}_unet").items()}
    expected = wanted(given, names)
    loader = StableDiffusionXLLoraLoaderMixin if family == "sdxl" else StableDiffusionLoraLoaderMixin
    state, alphas = loader.lora_state_dict(dict(made.tensors), unet_config=model.config)[:2]
    loader.load_lora_into_unet(state, alphas, model)
    model.fuse_lora()
    check(changes(model, before), expected)
    if to == "peft":
        other = UNet2DConditionModel(**unet_config(family, tiny_checkpoint(family, seed=1))).double()
        other.load_state_dict(before)
        load_with_peft(other, made.tensors, "unet")
        check(changes(other, before), expected)
