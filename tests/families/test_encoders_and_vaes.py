"""Language models as text encoders, and Wan's VAE: lists made by transformers' and diffusers' classes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import checkpoints
from loralathe.families.components import Component
from loralathe.families.language_models import (
    language_model,
    qwen3_vision_layers,
    qwen25_vision_layers,
    vision_encoder,
)
from loralathe.families.wan_vae import WAN_VAE

ENCODERS = {  # manifest → the networks that it holds
    "part_qwen3_4b": (language_model("qwen3_4b"),),
    "part_qwen25_vl_7b": (
        vision_encoder("qwen25_7b", qwen25_vision_layers),
        language_model("qwen25_7b", qwen3=False),
    ),
    "part_qwen3_vl_4b": (vision_encoder("qwen3vl_4b", qwen3_vision_layers), language_model("qwen3vl_4b")),
}


def tensors_of(component: Component, keys: list[str]) -> Iterator[str]:
    """The keys that its layers name, each once; KeyError for one that two layers claim."""
    for key in keys:
        if component.owns(key):
            layers, _ = component.tensor(key) or ((), None)
            assert len(layers) == 1, key
            yield key


@pytest.mark.parametrize("name", ENCODERS)
def test_every_tensor_of_an_encoder_is_named(name: str) -> None:
    keys = list(checkpoints.manifest(name))
    for component in ENCODERS[name]:
        held = list(tensors_of(component, keys))
        assert held
        assert all(component.block_of_path(key) == "LLM" for key in held)
        keys = [key for key in keys if key not in set(held)]
    assert keys == []


def test_wan_vae_agrees_with_diffusers_own_conversion() -> None:
    seen = set()
    for key, original in checkpoints.raw_manifest("map_wan_vae").items():
        piece = WAN_VAE.piece_of_diffusers(key)
        assert piece is not None, key
        assert piece.key == f"vae.{original}"
        seen.add(original)
    assert seen == checkpoints.manifest("part_wan_vae").keys()
