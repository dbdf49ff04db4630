"""Flux.1 (dev, schnell, fill and others made from them): a transformer, CLIP-L and T5-XXL.

A file holds the transformer alone, its keys with or without `model.diffusion_model.`, or all of the model
as ComfyUI saves it. Layers keep the names of the original release, with q, k and v (and in single blocks
the first half of the MLP) in one tensor: so sd-scripts trains them.
"""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.components import Component, denoiser_component
from loralathe.families.encoders import clip_layers, t5_layers
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.layers import Layer, Split, bare_layer, layer, split_layer
from loralathe.families.loaders import FLUX_LOADERS
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.pictures import Pictures, TextReading, Tokens, Usual, always, by_patches
from loralathe.families.recognition import DENOISER_PREFIX, NOT_WHOLE, KeyRule, Signature, UnreadFile
from loralathe.families.transformer import Stage, Transformer
from loralathe.families.vae import vae_component

DOUBLE, DIFFUSERS_DOUBLE = "double_blocks.#", "transformer_blocks.#"
SINGLE, DIFFUSERS_SINGLE = "single_blocks.#", "single_transformer_blocks.#"
XLABS = {"img": "1", "txt": "2"}
"""What XLabs calls the streams: `double_blocks.0.processor.qkv_lora1.down.weight`."""
# Name of an image or text stream → diffusers' names for its parts: mod.lin, mlp, attn.proj, q k v, norms.
STREAMS = {
    "img": ("norm1", "ff", "to_out.0", ("to_q", "to_k", "to_v"), ("norm_q", "norm_k")),
    "txt": (
        "norm1_context",
        "ff_context",
        "to_add_out",
        ("add_q_proj", "add_k_proj", "add_v_proj"),
        ("norm_added_q", "norm_added_k"),
    ),
}
EMBEDDERS = {
    "time_in": "timestep_embedder",
    "vector_in": "text_embedder",
    "guidance_in": "guidance_embedder",
}
"""Name → diffusers' name for it."""


def flux_layers() -> Iterator[Layer]:
    """All of the transformer; Chroma has most of them."""
    yield layer("img_in", "x_embedder")
    yield layer("txt_in", "context_embedder")
    for name, diffusers in EMBEDDERS.items():
        yield layer(f"{name}.in_layer", f"time_text_embed.{diffusers}.linear_1")
        yield layer(f"{name}.out_layer", f"time_text_embed.{diffusers}.linear_2")
    for stream in STREAMS:
        yield from _double_layers(stream)
    yield from _single_layers()
    yield layer("final_layer.linear", "proj_out")
    yield layer("final_layer.adaLN_modulation.1", "norm_out.linear", transform="halves_swapped")


def _double_layers(stream: str) -> Iterator[Layer]:
    modulation, mlp, out, qkv, norms = STREAMS[stream]
    xlabs = f"{DOUBLE}.processor.{{}}{XLABS[stream]}"
    yield layer(f"{DOUBLE}.{stream}_mod.lin", f"{DIFFUSERS_DOUBLE}.{modulation}.linear", "linear")
    yield split_layer(
        f"{DOUBLE}.{stream}_attn.qkv",
        tuple(f"{DIFFUSERS_DOUBLE}.attn.{name}" for name in qkv),
        "linear",
        aliases=(xlabs.format("qkv"),),
    )
    yield layer(
        f"{DOUBLE}.{stream}_attn.proj",
        f"{DIFFUSERS_DOUBLE}.attn.{out}",
        "linear",
        aliases=(xlabs.format("proj"),),
    )
    yield layer(f"{DOUBLE}.{stream}_mlp.0", f"{DIFFUSERS_DOUBLE}.{mlp}.net.0.proj", "linear")
    yield layer(f"{DOUBLE}.{stream}_mlp.2", f"{DIFFUSERS_DOUBLE}.{mlp}.net.2", "linear")
    for name, diffusers in zip(("query_norm", "key_norm"), norms, strict=True):
        path = f"{DOUBLE}.{stream}_attn.norm.{name}"
        yield bare_layer(path, f"{DIFFUSERS_DOUBLE}.attn.{diffusers}", f"{path}.scale")


def _single_layers() -> Iterator[Layer]:
    slots = tuple(
        f"{DIFFUSERS_SINGLE}.{name}" for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    )
    xlabs = Split((f"{SINGLE}.processor.qkv", ""), (3, 4))
    yield layer(f"{SINGLE}.linear1", None, "linear", splits=(Split(slots, (1, 1, 1, 4)), xlabs))
    yield layer(
        f"{SINGLE}.linear2", f"{DIFFUSERS_SINGLE}.proj_out", "linear", aliases=(f"{SINGLE}.processor.proj",)
    )
    yield layer(f"{SINGLE}.modulation.lin", f"{DIFFUSERS_SINGLE}.norm.linear", "linear")
    for name, diffusers in (("query_norm", "norm_q"), ("key_norm", "norm_k")):
        path = f"{SINGLE}.norm.{name}"
        yield bare_layer(path, f"{DIFFUSERS_SINGLE}.attn.{diffusers}", f"{path}.scale")


INPUT_LAYERS = ("img_in", "txt_in", "time_in", "vector_in", "guidance_in")
GUIDANCE = "guidance_in.in_layer.weight"
"""Only models distilled with guidance have it: dev, not schnell."""

TRANSFORMER = Transformer(
    layers=flux_layers,
    entry="img_in",
    # 16 latent channels in patches of 2×2; some models read another picture, or a picture and a mask, beside.
    inputs={64: "dev or schnell", 128: "depth or canny", 384: "fill"},
    stages=(Stage("double_blocks", "D", 19), Stage("single_blocks", "S", 38)),
    first={"IN": INPUT_LAYERS},
    last={"OUT": ("final_layer",)},
    optional={"guidance_in.": GUIDANCE},
    marked=(GUIDANCE, "dev", "schnell"),
)
NORMS = {f"{norm}.weight": f"{norm}.scale" for norm in (".query_norm", ".key_norm")}
"""Newer versions of ComfyUI write the first."""
RATIOS = {
    **{f".{stream}_mlp.0": (4, 1) for stream in STREAMS},
    **{f".{stream}_mlp.2": (1, 4) for stream in STREAMS},
    ".linear1": (7, 1),
    ".linear2": (1, 5),
}
"""(rows, inputs) by which Flux.2, of the same names, is told apart at the same width."""
FLUX_MODEL = ModelName("flux1", "flux-1-dev", "1024x1024")  # sd-scripts calls every Flux so, schnell too

PICTURES = Pictures(
    side=1024,
    tile=1024,
    latent_scaling=0.3611,
    latent_shift=0.1159,
    readings=(
        TextReading(
            "te1", "clip", pooled=True, projected=False, context=False, depth=12, file="clip_l.safetensors"
        ),
        TextReading(
            "te3",
            "t5",
            tokens=Tokens(512, "<pad>", "</s>", "t5_tokenizer"),
            depth=24,
            file="t5xxl_fp16.safetensors",
        ),
    ),
    folder={"_class_name": "FluxTransformer2DModel", "in_channels": 64},
    network="flux",
    variants={
        "dev": Usual(20, 1.0, "Euler", guidance=3.5, shift=by_patches((256, 0.5), (4096, 1.15))),
        "schnell": Usual(4, 1.0, "Euler", shift=always(1.0)),
    },
    vae_file="ae.safetensors",
    multiple=16,
    half="bf16",
    axes=(16, 56, 56),
)

FLUX = register(
    Family(
        id="flux",
        label="Flux",
        released="2024-08",
        signature=Signature(
            has={
                "img_in.weight": 2,
                "double_blocks.0.img_attn.qkv.weight": 2,
                "double_blocks.0.img_mod.lin.weight": 2,
                "double_blocks.0.txt_mlp.2.weight": 2,
                "single_blocks.0.linear1.weight": 2,
                "final_layer.linear.weight": 2,
            },
            prefixes=(DENOISER_PREFIX, ""),
        ),
        unread=(
            UnreadFile(
                "a Flux transformer in the diffusers layout",
                NOT_WHOLE,
                Signature(
                    {"single_transformer_blocks.0.attn.to_q.weight": 2, "x_embedder.weight": 2},
                    lacks=("distilled_guidance_layer.in_proj.weight",),
                    prefixes=("", DENOISER_PREFIX, "transformer."),
                ),
            ),
        ),
        evidence=ShapeEvidence(ratios=RATIOS),
        components=(
            denoiser_component(
                TRANSFORMER,
                "original",
                folder="transformer",
                bare=TRANSFORMER.starts(),
                renamed=NORMS,
                kohya=("lora_transformer_",),
            ),
            Component(
                id="te1",
                label="text encoder 1",
                root="text_encoders.clip_l.",
                prefix="text_encoders.clip_l.transformer.",
                folder="text_encoder",
                layers=clip_layers,
                kohya=("lora_te1_",),
                block="CLIP",
            ),
            Component(
                id="te3",
                label="T5 text encoder",
                root="text_encoders.t5xxl.",
                prefix="text_encoders.t5xxl.transformer.",
                folder="text_encoder_2",
                layers=t5_layers,
                kohya=("lora_te3_", "lora_te2_"),  # the second: OneTrainer's
                block="T5",
            ),
            vae_component("vae."),
        ),
        words=MetadataWords(
            epsilon=FLUX_MODEL,
            v=FLUX_MODEL,
            implementation="https://github.com/black-forest-labs/flux",
            module="networks.lora_flux",
            tells_prediction=False,
        ),
        prediction="flow",
        loaders=FLUX_LOADERS,
        rules=(
            KeyRule(
                "CLIP-L projection, unused in pictures",
                r"text_encoders\.clip_l\.transformer\.text_projection\.weight",
                frozen=False,
            ),
        ),
        pictures=PICTURES,
    )
)
