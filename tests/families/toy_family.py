"""A family that exists only in the tests: this file is all that makes it known to every command."""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.components import Component, denoiser_component
from loralathe.families.encoders import clip_layers
from loralathe.families.family import Family, register
from loralathe.families.layers import Layer, bare_layer, layer, split_layer
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.recognition import DENOISER_PREFIX, KeyRule, Signature
from loralathe.families.transformer import Stage, Transformer

BLOCK, DIFFUSERS_BLOCK = "layers.#", "transformer_blocks.#"
QKV = tuple(f"{DIFFUSERS_BLOCK}.attn.to_{letter}" for letter in "qkv")


def _layers() -> Iterator[Layer]:
    yield layer("patch_in", "patch_embed")
    yield layer("text_in", "caption_projection")
    yield split_layer(f"{BLOCK}.attention.qkv", QKV, "linear")
    yield layer(f"{BLOCK}.attention.out", f"{DIFFUSERS_BLOCK}.attn.to_out.0", "linear")
    yield layer(f"{BLOCK}.mlp.0", f"{DIFFUSERS_BLOCK}.ff.net.0.proj", "linear")
    yield layer(f"{BLOCK}.mlp.2", f"{DIFFUSERS_BLOCK}.ff.net.2", "linear")
    yield bare_layer(f"{BLOCK}.norm", f"{DIFFUSERS_BLOCK}.norm1", f"{BLOCK}.norm.scale")
    yield layer("refiner.#.mix", "refiner_blocks.#.proj", "linear")
    yield layer("head", "proj_out", transform="halves_swapped")


TRANSFORMER = Transformer(
    layers=_layers,
    entry="patch_in",
    inputs={16: "base", 32: "edit"},
    stages=(Stage("layers", "L", 4), Stage("refiner", "R", 2)),
    first={"FIRST": ("patch_in", "text_in")},
    last={"LAST": ("head",)},
)
MODEL = ModelName("toy_v1", "toy-1", "64x64")

TOY = register(
    Family(
        id="toy",
        label="Toy",
        released="2099-01",
        signature=Signature(
            has={"patch_in.weight": 2, "layers.0.attention.qkv.weight": 2, "refiner.0.mix.weight": 2},
            prefixes=(DENOISER_PREFIX, ""),
        ),
        components=(
            denoiser_component(
                TRANSFORMER,
                "original",
                folder="transformer",
                bare=("patch_in.", "text_in.", "layers.", "refiner.", "head."),
            ),
            Component(
                id="te1",
                label="toy text encoder",
                root="toy_text.",
                prefix="toy_text.transformer.",
                folder="text_encoder",
                layers=clip_layers,
                kohya=("lora_te1_",),
                block="TEXT",
            ),
        ),
        words=MetadataWords(MODEL, MODEL, "https://example.com/toy", module="networks.lora_toy"),
        marks={"toy_v": "v"},
        rules=(KeyRule("toy counters", r"toy_steps", frozen=True),),
        presets={"LATE": (("L02", "R01"),)},
    )
)
