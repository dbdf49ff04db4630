"""Qwen-Image and Qwen-Image-Edit: a transformer of two streams that reads Qwen2.5-VL 7B, and Wan's VAE.

The release has diffusers' names, so every layout has the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.components import denoiser_component
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.language_models import language_model, qwen25_vision_layers, vision_encoder
from loralathe.families.layers import Layer, bare_layer, layer
from loralathe.families.loaders import TRANSFORMER_LOADERS, Starts
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.recognition import DENOISER_PREFIX, KeyRule, Signature
from loralathe.families.transformer import Stage, Transformer
from loralathe.families.wan_vae import WAN_VAE

BLOCK = "transformer_blocks.#"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
NORMS = ("norm_q", "norm_k", "norm_added_q", "norm_added_k")
LAYERED = "time_text_embed.addition_t_embedding"
"""Only models that paint pictures in layers have it."""


def _layers() -> Iterator[Layer]:
    for name in ("img_in", "txt_in"):
        yield layer(name)
    yield _norm("txt_norm")
    for number in (1, 2):
        yield layer(f"time_text_embed.timestep_embedder.linear_{number}")
    yield layer(LAYERED, bias=False)
    for name in ATTENTION:
        yield layer(f"{BLOCK}.attn.{name}", scope="linear")
    for name in NORMS:
        yield _norm(f"{BLOCK}.attn.{name}")
    for stream in ("img", "txt"):
        for name in ("net.0.proj", "net.2"):
            yield layer(f"{BLOCK}.{stream}_mlp.{name}", scope="linear")
        yield layer(f"{BLOCK}.{stream}_mod.1")
    yield layer("norm_out.linear")
    yield layer("proj_out")


def _norm(name: str) -> Layer:
    return bare_layer(name, name, f"{name}.weight")


TRANSFORMER = Transformer(
    layers=_layers,
    entry="img_in",
    inputs={64: "base or Edit"},  # 16 latent channels in patches of 2×2
    stages=(Stage("transformer_blocks", "B", 60),),
    first={"IN": ("img_in", "txt_in", "txt_norm", "time_text_embed")},
    last={"OUT": ("norm_out", "proj_out")},
    optional={LAYERED: f"{LAYERED}.weight"},
)
MODEL = ModelName("qwen_image", "Qwen-Image", "1024x1024")

LOADERS = {
    **TRANSFORMER_LOADERS,
    "diffusers": Starts(original=("lora_unet_", "diffusion_model.", "transformer.")),
}


QWEN_IMAGE = register(
    Family(
        id="qwen-image",
        label="Qwen-Image",
        released="2025-08",
        signature=Signature(
            has={
                "img_in.weight": 2,
                "txt_norm.weight": 1,
                "transformer_blocks.0.img_mod.1.weight": 2,
                "transformer_blocks.0.txt_mlp.net.2.weight": 2,
                "transformer_blocks.0.attn.add_q_proj.weight": 2,
                "proj_out.weight": 2,
            },
            prefixes=(DENOISER_PREFIX, ""),
        ),
        evidence=ShapeEvidence(ratios={"_mlp.net.0.proj": (4, 1), "_mlp.net.2": (1, 4)}),
        components=(
            denoiser_component(TRANSFORMER, "original", folder="transformer", bare=TRANSFORMER.starts()),
            vision_encoder("qwen25_7b", qwen25_vision_layers),
            language_model("qwen25_7b", qwen3=False),
            WAN_VAE,
        ),
        words=MetadataWords(
            MODEL,
            MODEL,
            "https://github.com/QwenLM/Qwen-Image",
            module="networks.lora_qwen_image",
            tells_prediction=False,
        ),
        prediction="flow",
        loaders=LOADERS,
        rules=(KeyRule("mark of Qwen-Image-Edit", r"(.*\.)?__index_timestep_zero__", frozen=True),),
    )
)
