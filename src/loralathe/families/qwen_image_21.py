"""Qwen-Image 2.1: a transformer of one stream that reads Qwen3-VL 8B.

Its names are diffusers', except that ComfyUI keeps the gate and the input of the MLP in one tensor, the gate
first. Trainers write the two apart; behind `diffusion_model.` and `lora_unet_` ComfyUI does not read them,
and we do.
"""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.components import Component, denoiser_component
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.language_models import language_model, qwen3_vision_layers, vision_encoder
from loralathe.families.layers import Layer, Scope, bare_layer, layer, split_layer
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.recognition import DENOISER_PREFIX, Signature, diffusers_layout
from loralathe.families.transformer import Stage, Transformer

BLOCK = "transformer_blocks.#"


def _layers() -> Iterator[Layer]:
    yield _linear("img_in")
    yield _norm("txt_in.text_norm")
    for name in ("in_layer", "out_layer"):
        yield _linear(f"txt_in.{name}")
    for number in (1, 2):
        yield _linear(f"time_text_embed.timestep_embedder.linear_{number}")
    yield _linear("modulation.1")
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        yield _linear(f"{BLOCK}.attn.{name}", "linear")
    for name in ("norm_q", "norm_k"):
        yield _norm(f"{BLOCK}.attn.{name}")
    halves = (f"{BLOCK}.img_mlp.gate_layer", f"{BLOCK}.img_mlp.proj")
    yield split_layer(f"{BLOCK}.img_mlp.gate_up", halves, "linear", (3, 3), bias=False, original=True)
    yield _linear(f"{BLOCK}.img_mlp.out", "linear")
    yield _linear("norm_out.linear")
    yield _linear("proj_out")


def _linear(name: str, scope: Scope = "outside") -> Layer:
    return layer(name, scope=scope, bias=False)


def _norm(name: str) -> Layer:
    return bare_layer(name, name, f"{name}.weight")


TRANSFORMER = Transformer(
    layers=_layers,
    entry="img_in",
    inputs={64: "base"},
    stages=(Stage("transformer_blocks", "B", 32),),
    first={"IN": ("img_in", "txt_in", "time_text_embed", "modulation")},
    last={"OUT": ("norm_out", "proj_out")},
)
MODEL = ModelName("qwen_image_2_1", "Qwen-Image-2.1", "1024x1024")
VAE = Component(id="vae", label="VAE", root="vae.", prefix="vae.", folder="vae", layers=tuple)
"""One of its own, which nothing but whole models changes."""

QWEN_IMAGE_21 = register(
    Family(
        id="qwen-image-2.1",
        label="Qwen-Image 2.1",
        released="2026-08",
        signature=Signature(
            has={
                "img_in.weight": 2,
                "txt_in.text_norm.weight": 1,
                "modulation.1.weight": 2,
                "transformer_blocks.0.attn.to_q.weight": 2,
                "transformer_blocks.0.img_mlp.gate_up.weight": 2,
                "proj_out.weight": 2,
            },
            prefixes=(DENOISER_PREFIX, ""),
        ),
        unread=(
            diffusers_layout(
                "Qwen-Image 2.1",
                {"transformer_blocks.0.img_mlp.gate_layer.weight": 2, "modulation.1.weight": 2},
            ),
        ),
        evidence=ShapeEvidence(ratios={".img_mlp.gate_up": (6, 1), ".img_mlp.out": (1, 3)}),
        components=(
            denoiser_component(TRANSFORMER, "original", folder="transformer", bare=TRANSFORMER.starts()),
            vision_encoder("qwen3vl_8b", qwen3_vision_layers),
            language_model("qwen3vl_8b"),
            VAE,
        ),
        words=MetadataWords(
            MODEL,
            MODEL,
            "https://github.com/QwenLM/Qwen-Image",
            module="networks.lora_qwen_image",
            tells_prediction=False,
        ),
        prediction="flow",
    )
)
