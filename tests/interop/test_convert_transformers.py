"""diffusers loads what `convert --to` writes for newer transformers, and adds the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from checkpoints import TRAINED, manifest, raw_manifest
from loralathe import MEMORY, convert_lora

pytest.importorskip("peft", reason="needs peft")
pytest.importorskip("diffusers", reason="needs diffusers")
from diffusers import (
    CosmosTransformer3DModel,
    Krea2Transformer2DModel,
    QwenImage21Transformer2DModel,
    QwenImageTransformer2DModel,
    ZImageTransformer2DModel,
)
from diffusers.loaders import (
    AnimaLoraLoaderMixin,
    Krea2LoraLoaderMixin,
    QwenImageLoraLoaderMixin,
    ZImageLoraLoaderMixin,
)

from interop.test_convert import changes, check

MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "zimage": (
        ZImageTransformer2DModel,
        ZImageLoraLoaderMixin,
        {"dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 24,
         "axes_dims": [4, 6, 6], "axes_lens": [8, 8, 8]},
    ),
    "qwen-image": (
        QwenImageTransformer2DModel,
        QwenImageLoraLoaderMixin,
        {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 24,
         "axes_dims_rope": (4, 6, 6)},
    ),
    "qwen-image-2.1": (
        QwenImage21Transformer2DModel,
        QwenImageLoraLoaderMixin,
        {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "context_in_dim": 24,
         "axes_dims_rope": (4, 6, 6)},
    ),
    "krea2": (
        Krea2Transformer2DModel,
        Krea2LoraLoaderMixin,
        {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 4, "num_key_value_heads": 1,
         "intermediate_size": 96, "text_hidden_dim": 32, "text_num_attention_heads": 2,
         "text_num_key_value_heads": 2, "text_intermediate_size": 48, "axes_dims_rope": (4, 6, 6)},
    ),
    "anima": (
        CosmosTransformer3DModel,
        AnimaLoraLoaderMixin,
        {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "text_embed_dim": 24,
         "adaln_lora_dim": 8, "extra_pos_embed_type": None},
    ),
}  # fmt: skip
MANIFESTS = {"zimage": "zimage", "qwen-image-2.1": "qwen_image_21", "krea2": "krea2", "anima": "anima"}


def original_places(family: str, keys: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, float, float]]:
    """diffusers' key → (original key, where its rows begin and end, as shares), by its own converter."""
    if family not in MANIFESTS:
        return {key: (key, 0.0, 1.0) for key in keys}
    heights = manifest(f"ckpt_{MANIFESTS[family]}")
    found = {}
    for key, value in raw_manifest(f"map_{MANIFESTS[family]}_transformer").items():
        if key in keys:
            entry = value if isinstance(value, dict) else {"original": value}
            name = str(entry["original"])
            first, last = entry.get("rows") or (0, heights[name].shape[0])
            found[key] = (name, first / heights[name].shape[0], last / heights[name].shape[0])
    return found


@pytest.mark.parametrize("to", ["peft", "diffusers"])
@pytest.mark.parametrize("family", MODELS)
def test_diffusers_adds_the_same(family: str, to: str) -> None:
    make, loader, config = MODELS[family]
    torch.manual_seed(1)
    model = make(**config).double()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    places = original_places(family, before)
    heights: dict[str, int] = {}
    for key, (name, first, last) in places.items():
        heights[name] = round(before[key].shape[0] / (last - first))
    lora, deltas = {}, {}
    for key, (name, first, _) in places.items():
        stem = name.removesuffix(".weight")
        if first or before[key].dim() != 2 or not re.fullmatch(TRAINED[family], stem) or stem == name:
            continue
        up, down = torch.randn(heights[name], 4).half(), torch.randn(4, before[key].shape[1]).half()
        flat = f"lora_unet_{stem.replace('.', '_')}"
        lora |= {f"{flat}.lora_up.weight": up, f"{flat}.lora_down.weight": down}
        lora[f"{flat}.alpha"] = torch.tensor(3.0)
        deltas[name] = 0.75 * up.double() @ down.double()
    made = convert_lora(lora, to, output=MEMORY)
    state, notes = loader.lora_state_dict(dict(made.tensors), return_lora_metadata=True)
    loader.load_lora_into_transformer(state, model, metadata=notes)
    model.fuse_lora()
    expected = {}
    for key, (name, first, last) in places.items():
        if name in deltas:
            height = heights[name]
            expected[key] = deltas[name][round(first * height) : round(last * height)]
    assert len(expected) > 10
    check(changes(model, before), expected)
