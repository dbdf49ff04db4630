"""Krea 2, Raw and Turbo: a transformer of one stream that reads twelve layers of Qwen3-VL 4B, and Wan's VAE.

Two pairs of blocks, `txtfusion`, make one text out of the twelve layers; they are the block TXT.
"""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.components import denoiser_component
from loralathe.families.family import Family, register
from loralathe.families.language_models import language_model, qwen3_vision_layers, vision_encoder
from loralathe.families.layers import Layer, bare_layer, layer, parameter
from loralathe.families.loaders import TRANSFORMER_LOADERS, Starts
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.recognition import DENOISER_PREFIX, Signature, diffusers_layout
from loralathe.families.transformer import Stage, Transformer
from loralathe.families.wan_vae import WAN_VAE

BLOCKS = {
    "blocks.#": "transformer_blocks.#",
    "txtfusion.layerwise_blocks.#": "text_fusion.layerwise_blocks.#",
    "txtfusion.refiner_blocks.#": "text_fusion.refiner_blocks.#",
}
"""Rows of blocks → diffusers' names."""
INSIDE = {
    "attn.wq": "attn.to_q",
    "attn.wk": "attn.to_k",
    "attn.wv": "attn.to_v",
    "attn.gate": "attn.to_gate",
    "mlp.gate": "ff.gate",
    "mlp.up": "ff.up",
    "mlp.down": "ff.down",
}
NORMS = {
    "attn.qknorm.qnorm": "attn.norm_q",
    "attn.qknorm.knorm": "attn.norm_k",
    "prenorm": "norm1",
    "postnorm": "norm2",
}
ENDS = {
    "first": "img_in",
    "tmlp.0": "time_embed.linear_1",
    "tmlp.2": "time_embed.linear_2",
    "tproj.1": "time_mod_proj",
    "txtmlp.1": "txt_in.linear_1",
    "txtmlp.3": "txt_in.linear_2",
    "last.linear": "final_layer.linear",
}
"""The trainer's default is every linear layer of the model, these among them."""


def _layers() -> Iterator[Layer]:
    for name, diffusers in ENDS.items():
        yield layer(name, diffusers, "linear")
    yield layer("txtfusion.projector", "text_fusion.projector", "linear", bias=False)
    yield _norm("txtmlp.0", "txt_in.norm")
    yield _norm("last.norm", "final_layer.norm")
    for block, diffusers in BLOCKS.items():
        yield from _block_layers(block, diffusers)
    yield parameter("blocks.#.mod.lin", "transformer_blocks.#.scale_shift_table", table=6)
    yield parameter("last.modulation.lin", "final_layer.scale_shift_table")


def _block_layers(block: str, diffusers: str) -> Iterator[Layer]:
    for name, renamed in INSIDE.items():
        yield layer(f"{block}.{name}", f"{diffusers}.{renamed}", "linear", bias=False)
    out = f"{diffusers}.attn.to_out"
    yield layer(f"{block}.attn.wo", f"{out}.0", "linear", bias=False, aliases=(out,))
    for name, renamed in NORMS.items():
        yield _norm(f"{block}.{name}", f"{diffusers}.{renamed}")


def _norm(name: str, diffusers: str) -> Layer:
    return bare_layer(f"{name}.scale", diffusers, f"{name}.scale")


TRANSFORMER = Transformer(
    layers=_layers,
    entry="first",
    inputs={64: "Raw or Turbo"},  # 16 latent channels in patches of 2×2
    stages=(Stage("txtfusion", "TXT", 1, whole=True), Stage("blocks", "B", 28)),
    first={"IN": ("first", "tmlp", "tproj", "txtmlp")},
    last={"OUT": ("last",)},
)
MODEL = ModelName("krea2", "Krea-2", "1024x1024")

LOADERS = {
    **TRANSFORMER_LOADERS,
    "comfyui": Starts(
        original=("lora_unet_", "diffusion_model."),
        diffusers=("transformer.", "diffusion_model.", "lycoris_", ""),
    ),
    "diffusers": Starts(original=("diffusion_model.", "base_model.model."), diffusers=("transformer.",)),
}


KREA2 = register(
    Family(
        id="krea2",
        label="Krea 2",
        released="2026-06",
        signature=Signature(
            has={
                "first.weight": 2,
                "txtfusion.projector.weight": 2,
                "blocks.0.attn.wq.weight": 2,
                "blocks.0.attn.gate.weight": 2,
                "blocks.0.mod.lin": 1,
                "last.linear.weight": 2,
            },
            prefixes=(DENOISER_PREFIX, ""),
        ),
        unread=(
            diffusers_layout(
                "Krea 2", {"transformer_blocks.0.attn.to_gate.weight": 2, "text_fusion.projector.weight": 2}
            ),
        ),
        components=(
            denoiser_component(TRANSFORMER, "original", folder="transformer", bare=TRANSFORMER.starts()),
            vision_encoder("qwen3vl_4b", qwen3_vision_layers),
            language_model("qwen3vl_4b"),
            WAN_VAE,
        ),
        words=MetadataWords(
            MODEL,
            MODEL,
            "https://github.com/krea-ai/krea-2",
            module="networks.lora_krea2",
            tells_prediction=False,
        ),
        prediction="flow",
        loaders=LOADERS,
    )
)
