"""Chroma: Flux.1 schnell without modulations in its blocks; one small network makes them all. T5-XXL reads.

Layers and their names are Flux.1's, less those that modulate, and the network (`distilled_guidance_layer`)
more. So a LoRA without modulations fits both, and only what its trainer noted tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from loralathe.families.components import Component, denoiser_component
from loralathe.families.encoders import t5_layers
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.flux import NORMS, RATIOS, TRANSFORMER, flux_layers
from loralathe.families.layers import Layer, bare_layer, layer
from loralathe.families.loaders import FLUX_LOADERS
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.recognition import DENOISER_PREFIX, NOT_WHOLE, Signature, UnreadFile
from loralathe.families.vae import vae_component

GUIDANCE = "distilled_guidance_layer"
IN_FLUX_ALONE = ("time_in", "vector_in", "guidance_in")
MODULATION = ("_mod.lin", "modulation.lin", "adaLN_modulation.1")
"""Ends of the names of Flux.1's layers that Chroma lacks."""


def _layers() -> Iterator[Layer]:
    for end in ("in_proj", "out_proj"):
        yield layer(f"{GUIDANCE}.{end}")
    for name, diffusers in (("in_layer", "linear_1"), ("out_layer", "linear_2")):
        yield layer(f"{GUIDANCE}.layers.#.{name}", f"{GUIDANCE}.layers.#.{diffusers}")
    norm = f"{GUIDANCE}.norms.#"
    yield bare_layer(norm, norm, f"{norm}.scale")
    for entry in flux_layers():
        if not entry.name.startswith(IN_FLUX_ALONE) and not entry.name.endswith(MODULATION):
            yield entry


CHROMA_TRANSFORMER = replace(
    TRANSFORMER,
    layers=_layers,
    inputs={64: "base"},
    first={"IN": ("img_in", "txt_in", GUIDANCE)},
    optional={},
    marked=None,
)
CHROMA_MODEL = ModelName("chroma", "chroma", "1024x1024")
ANYWHERE = ("", DENOISER_PREFIX, "transformer.")

CHROMA = register(
    Family(
        id="chroma",
        label="Chroma",
        released="2025-06",
        signature=Signature(
            has={
                f"{GUIDANCE}.in_proj.weight": 2,
                "img_in.weight": 2,
                "double_blocks.0.img_attn.qkv.weight": 2,
                "single_blocks.0.linear1.weight": 2,
                "final_layer.linear.weight": 2,
            },
            lacks=("double_blocks.0.img_mod.lin.weight",),
            prefixes=(DENOISER_PREFIX, ""),
        ),
        unread=(
            UnreadFile(
                "Chroma Radiance, a Chroma that works on pixels",
                "Radiance is not supported; use a Chroma that works with the VAE of Flux",
                Signature(
                    {f"{GUIDANCE}.in_proj.weight": 2, "nerf_blocks.0.norm.scale": 1}, prefixes=ANYWHERE
                ),
            ),
            UnreadFile(
                "a Chroma transformer in the diffusers layout",
                NOT_WHOLE,
                Signature(
                    {f"{GUIDANCE}.in_proj.weight": 2, "single_transformer_blocks.0.attn.to_q.weight": 2},
                    prefixes=ANYWHERE,
                ),
            ),
        ),
        evidence=ShapeEvidence(ratios=RATIOS),
        components=(
            denoiser_component(
                CHROMA_TRANSFORMER,
                "original",
                folder="transformer",
                bare=CHROMA_TRANSFORMER.starts(),
                renamed={
                    **NORMS,
                    **{f".norms.{number}.weight": f".norms.{number}.scale" for number in range(5)},
                },
                kohya=("lora_transformer_",),
            ),
            Component(
                id="te3",
                label="T5 text encoder",
                root="text_encoders.t5xxl.",
                prefix="text_encoders.t5xxl.transformer.",
                folder="text_encoder",
                layers=t5_layers,
                kohya=("lora_te3_",),
                block="T5",
            ),
            vae_component("vae."),
        ),
        words=MetadataWords(
            epsilon=CHROMA_MODEL,
            v=CHROMA_MODEL,
            implementation="https://huggingface.co/lodestones/Chroma",
            module="networks.lora_flux",
            tells_prediction=False,
        ),
        prediction="flow",
        loaders=FLUX_LOADERS,
    )
)
