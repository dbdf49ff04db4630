"""Flux.1 (dev, schnell, fill and others made from them): a transformer, CLIP-L and T5-XXL.

A file holds the transformer alone, its keys with or without `model.diffusion_model.`, or all of the model
as ComfyUI saves it. Layers keep the names of the original release, with q, k and v (and in single blocks
the first half of the MLP) in one tensor: so sd-scripts trains them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from loralathe.families.encoders import clip_layers, t5_layers
from loralathe.families.family import Component, Family
from loralathe.families.names import (
    Layer,
    bare_layer,
    layer,
    split_layer,
)
from loralathe.families.parts import UNET_PREFIX, denoiser_part, vae_part
from loralathe.families.rules import KeyRule
from loralathe.families.signatures import Signature

IN_BLOCK = ("img_in", "txt_in", "time_in", "vector_in", "guidance_in")
GUIDANCE = "guidance_in.in_layer.weight"
"""Only models distilled with guidance have it: dev, not schnell."""
DOUBLE, DIFFUSERS_DOUBLE = "double_blocks.#", "transformer_blocks.#"
SINGLE, DIFFUSERS_SINGLE = "single_blocks.#", "single_transformer_blocks.#"
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
LATENT_INPUTS = 64
INPUTS: Mapping[int, str] = {LATENT_INPUTS: "dev or schnell", 128: "depth or canny", 384: "fill"}
"""16 latent channels in patches of 2×2; some models read another picture, or a picture and a mask, beside."""


@dataclass(frozen=True, slots=True)
class FluxTransformer:
    """Double blocks (image and text each with weights of their own), then single ones (both in one).

    double, single: how many the block lists name; a file may have fewer.
    """

    double: int
    single: int

    kind = "transformer"
    entry = "img_in"
    inputs = INPUTS

    def layers(self) -> Iterator[Layer]:
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

    def missing(self, paths: Collection[str]) -> list[str]:
        return [path for path in self._required(paths) if path not in paths]

    def _required(self, paths: Collection[str]) -> Iterator[str]:
        """Every tensor of every block up to the last one that is there."""
        last = {stage: _last_number(paths, stage) for stage in ("double_blocks", "single_blocks")}
        for entry in self.layers():
            if entry.name.startswith("guidance_in.") and GUIDANCE not in paths:
                continue
            numbers = range(last.get(entry.name.partition(".")[0], 0) + 1)
            for number in numbers:
                yield entry.weight.replace("#", str(number))
                if entry.bias is not None:
                    yield entry.bias.replace("#", str(number))

    def variant(self, channels: int, paths: Collection[str]) -> str:
        if channels != LATENT_INPUTS:
            return INPUTS[channels]
        return "dev" if GUIDANCE in paths else "schnell"

    def blocks(self) -> tuple[str, ...]:
        """CLIP T5 IN D00… S00… OUT, the list that LoRA Block Weight has."""
        return ("CLIP", "T5", "IN", *self.short_blocks(), "OUT")

    def short_blocks(self) -> tuple[str, ...]:
        """D00… S00…: what holds attention."""
        return (
            *(f"D{number:02d}" for number in range(self.double)),
            *(f"S{number:02d}" for number in range(self.single)),
        )

    def block_of_path(self, path: str) -> str | None:
        stage, _, rest = path.partition(".")
        if stage in IN_BLOCK:
            return "IN"
        if stage == "final_layer":
            return "OUT"
        side = {"double_blocks": "D", "single_blocks": "S"}.get(stage)
        number = rest.partition(".")[0]
        return f"{side}{int(number):02d}" if side and number.isdigit() else None


def _double_layers(stream: str) -> Iterator[Layer]:
    modulation, mlp, out, qkv, norms = STREAMS[stream]
    yield layer(f"{DOUBLE}.{stream}_mod.lin", f"{DIFFUSERS_DOUBLE}.{modulation}.linear", "linear")
    yield split_layer(
        f"{DOUBLE}.{stream}_attn.qkv", tuple(f"{DIFFUSERS_DOUBLE}.attn.{name}" for name in qkv), "linear"
    )
    yield layer(f"{DOUBLE}.{stream}_attn.proj", f"{DIFFUSERS_DOUBLE}.attn.{out}", "linear")
    yield layer(f"{DOUBLE}.{stream}_mlp.0", f"{DIFFUSERS_DOUBLE}.{mlp}.net.0.proj", "linear")
    yield layer(f"{DOUBLE}.{stream}_mlp.2", f"{DIFFUSERS_DOUBLE}.{mlp}.net.2", "linear")
    for name, diffusers in zip(("query_norm", "key_norm"), norms, strict=True):
        path = f"{DOUBLE}.{stream}_attn.norm.{name}"
        yield bare_layer(path, f"{DIFFUSERS_DOUBLE}.attn.{diffusers}", f"{path}.scale")


def _single_layers() -> Iterator[Layer]:
    slots = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    yield split_layer(f"{SINGLE}.linear1", tuple(f"{DIFFUSERS_SINGLE}.{name}" for name in slots), "linear")
    yield layer(f"{SINGLE}.linear2", f"{DIFFUSERS_SINGLE}.proj_out", "linear")
    yield layer(f"{SINGLE}.modulation.lin", f"{DIFFUSERS_SINGLE}.norm.linear", "linear")
    for name, diffusers in (("query_norm", "norm_q"), ("key_norm", "norm_k")):
        path = f"{SINGLE}.norm.{name}"
        yield bare_layer(path, f"{DIFFUSERS_SINGLE}.attn.{diffusers}", f"{path}.scale")


def _last_number(paths: Collection[str], stage: str) -> int:
    numbers = (path.split(".", 2)[1] for path in paths if path.startswith(f"{stage}."))
    return max((int(number) for number in numbers if number.isdigit()), default=0)


FLUX_TRANSFORMER = FluxTransformer(double=19, single=38)
STAGES = ("double_blocks.", "single_blocks.", "final_layer.", *(f"{name}." for name in IN_BLOCK))

FLUX = Family(
    id="flux",
    label="Flux",
    denoiser=FLUX_TRANSFORMER,
    parts=(
        denoiser_part(
            FLUX_TRANSFORMER, "original", folder="transformer", bare=STAGES, kohya="lora_transformer_"
        ),
        Component(
            id="te1",
            root="text_encoders.clip_l.",
            prefix="text_encoders.clip_l.transformer.",
            folder="text_encoder",
            layers=clip_layers,
            kohya=("lora_te1_",),
            block="CLIP",
        ),
        Component(
            id="te3",
            root="text_encoders.t5xxl.",
            prefix="text_encoders.t5xxl.transformer.",
            folder="text_encoder_2",
            layers=t5_layers,
            kohya=("lora_te3_",),
            block="T5",
        ),
        vae_part("vae."),
    ),
    signature=Signature(
        has={
            "img_in.weight": 2,
            "double_blocks.0.img_attn.qkv.weight": 2,
            "double_blocks.0.txt_mlp.2.weight": 2,
            "single_blocks.0.linear1.weight": 2,
            "final_layer.linear.weight": 2,
        },
        prefixes=(UNET_PREFIX, ""),
    ),
    default_prediction="flow",
    rules=(
        KeyRule(
            "CLIP-L projection, unused in pictures",
            r"text_encoders\.clip_l\.transformer\.text_projection\.weight",
            frozen=False,
        ),
    ),
)
