"""Flux.1 (dev, schnell, fill and others made from them): a transformer, CLIP-L and T5-XXL.

A file holds the transformer alone, its keys with or without `model.diffusion_model.`, or all of the model
as ComfyUI saves it. Layers keep the names of the original release, with q, k and v (and in single blocks
the first half of the MLP) in one tensor: so sd-scripts trains them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from .architecture import Architecture, Component
from .encoders import clip_layers, t5_layers
from .names import Layer, bare_layer, layer
from .parts import UNET_PREFIX, denoiser_part, vae_part
from .rules import KeyRule
from .signatures import Signature

EMBEDDERS = ("time_in", "vector_in", "guidance_in")
IN_BLOCK = ("img_in", "txt_in", *EMBEDDERS)
GUIDANCE = "guidance_in.in_layer.weight"
"""Only models distilled with guidance have it: dev, not schnell."""
IN_DOUBLE = tuple(
    f"{stream}_{leaf}"
    for stream in ("img", "txt")
    for leaf in ("mod.lin", "attn.qkv", "attn.proj", "mlp.0", "mlp.2")
)
IN_SINGLE = ("linear1", "linear2", "modulation.lin")
NORMS = (
    "double_blocks.#.img_attn.norm.key_norm",
    "double_blocks.#.img_attn.norm.query_norm",
    "double_blocks.#.txt_attn.norm.key_norm",
    "double_blocks.#.txt_attn.norm.query_norm",
    "single_blocks.#.norm.key_norm",
    "single_blocks.#.norm.query_norm",
)

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
        yield layer("img_in", None)
        yield layer("txt_in", None)
        for name in EMBEDDERS:
            yield layer(f"{name}.in_layer", None)
            yield layer(f"{name}.out_layer", None)
        for name in IN_DOUBLE:
            yield layer(f"double_blocks.#.{name}", None, "linear")
        for name in IN_SINGLE:
            yield layer(f"single_blocks.#.{name}", None, "linear")
        for name in NORMS:
            yield bare_layer(name, f"{name}.scale")
        yield layer("final_layer.linear", None)
        yield layer("final_layer.adaLN_modulation.1", None)

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


def _last_number(paths: Collection[str], stage: str) -> int:
    numbers = (path.split(".", 2)[1] for path in paths if path.startswith(f"{stage}."))
    return max((int(number) for number in numbers if number.isdigit()), default=0)


FLUX_TRANSFORMER = FluxTransformer(double=19, single=38)
STAGES = ("double_blocks.", "single_blocks.", "final_layer.", *(f"{name}." for name in IN_BLOCK))

FLUX = Architecture(
    id="flux",
    label="Flux",
    unet=FLUX_TRANSFORMER,
    parts=(
        denoiser_part(FLUX_TRANSFORMER, "original", folder="transformer", bare=STAGES),
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
