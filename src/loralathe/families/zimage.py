"""Z-Image, base and Turbo: a transformer that reads Qwen3 4B, and the VAE of Flux.

Layers keep the names of the release, with q, k and v in one tensor. Trainers split them and write diffusers'
names, also behind `diffusion_model.` and `lora_unet_`; the latter ComfyUI does not read, and we do.
"""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.components import denoiser_component
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.language_models import language_model
from loralathe.families.layers import Layer, bare_layer, layer, parameter, split_layer
from loralathe.families.loaders import TRANSFORMER_LOADERS, Starts
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.pictures import Pictures, TextReading, Tokens, Usual, always
from loralathe.families.recognition import DENOISER_PREFIX, KeyRule, Signature, UnreadFile, diffusers_layout
from loralathe.families.transformer import Stage, Transformer
from loralathe.families.vae import vae_component

MODULATED = {"noise_refiner.#": True, "context_refiner.#": False, "layers.#": True}
"""Rows of blocks → whether the noise level modulates them: not where they read the text alone."""
ATTENTION = {"norm_q": "q_norm", "norm_k": "k_norm"}
"""diffusers' name → name."""
INPUT_LAYERS = ("x_embedder", "cap_embedder", "t_embedder", "x_pad_token", "cap_pad_token")


def _layers() -> Iterator[Layer]:
    yield layer("x_embedder", "all_x_embedder.2-1")
    yield _norm("cap_embedder.0")
    yield layer("cap_embedder.1")
    for number in (0, 2):
        yield layer(f"t_embedder.mlp.{number}")
    for name in ("x_pad_token", "cap_pad_token"):
        yield parameter(name, name)
    for block, modulated in MODULATED.items():
        yield from _block_layers(block)
        if modulated:
            yield layer(f"{block}.adaLN_modulation.0")
    for name in ("linear", "adaLN_modulation.1"):
        yield layer(f"final_layer.{name}", f"all_final_layer.2-1.{name}")


def _block_layers(block: str) -> Iterator[Layer]:
    attention = f"{block}.attention"
    qkv = tuple(f"{attention}.to_{letter}" for letter in "qkv")
    yield split_layer(f"{attention}.qkv", qkv, "linear", bias=False, original=True)
    yield layer(f"{attention}.out", f"{attention}.to_out.0", "linear", bias=False)
    for diffusers, name in ATTENTION.items():
        yield _norm(f"{attention}.{name}", f"{attention}.{diffusers}")
    for number in (1, 2, 3):
        yield layer(f"{block}.feed_forward.w{number}", scope="linear", bias=False)
    for name in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"):
        yield _norm(f"{block}.{name}")


def _norm(name: str, diffusers: str | None = None) -> Layer:
    return bare_layer(name, diffusers or name, f"{name}.weight")


TRANSFORMER = Transformer(
    layers=_layers,
    entry="x_embedder",
    inputs={64: "base or Turbo"},  # 16 latent channels in patches of 2×2
    stages=(
        Stage("noise_refiner", "NR", 2, whole=True),
        Stage("context_refiner", "CR", 2, whole=True),
        Stage("layers", "B", 30),
    ),
    first={"IN": INPUT_LAYERS},
    last={"OUT": ("final_layer",)},
)
MODEL = ModelName("z_image", "Z-Image", "1024x1024")

LOADERS = {
    **TRANSFORMER_LOADERS,
    "comfyui": Starts(
        original=("lora_unet_", "diffusion_model."),
        diffusers=("transformer.", "diffusion_model.", "lycoris_", ""),
    ),
    "diffusers": Starts(
        original=("lora_unet_", "diffusion_model."),
        diffusers=("transformer.", "diffusion_model.", "lora_unet_"),
    ),
}
"""The parts of q, k and v behind `lora_unet_` ComfyUI does not find."""

PICTURES = Pictures(
    side=1024,
    tile=1024,
    latent_scaling=0.3611,
    latent_shift=0.1159,
    readings=(
        TextReading(
            "te1",
            "qwen3",
            default_skip=2,
            final_norm=False,
            tokens=Tokens(
                512,
                "<|endoftext|>",
                comfyui="qwen25_tokenizer",
                template="<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
                padded=False,
            ),
            depth=36,
            file="qwen_3_4b.safetensors",
        ),
    ),
    folder={"_class_name": "ZImageTransformer2DModel", "in_channels": 16},
    network="zimage",
    variants={"base or Turbo": Usual(8, 1.0, "Euler", shift=always(3.0))},
    vae_file="ae.safetensors",
    multiple=16,
    half="bf16",
    axes=(32, 48, 48),
)
"""As Turbo is drawn, which its files do not tell from the base."""

ZIMAGE = register(
    Family(
        id="zimage",
        label="Z-Image",
        released="2025-11",
        signature=Signature(
            has={
                "x_embedder.weight": 2,
                "cap_pad_token": 2,  # Lumina 2 has the same layers without it
                "noise_refiner.0.attention.qkv.weight": 2,
                "layers.0.attention.qkv.weight": 2,
                "layers.0.feed_forward.w3.weight": 2,
                "final_layer.linear.weight": 2,
            },
            prefixes=(DENOISER_PREFIX, ""),
        ),
        unread=(
            UnreadFile(
                "a Lumina 2 model",
                None,
                Signature(
                    {"noise_refiner.0.attention.qkv.weight": 2, "layers.0.attention.qkv.weight": 2},
                    lacks=("cap_pad_token",),
                    prefixes=(DENOISER_PREFIX, ""),
                ),
            ),
            diffusers_layout(
                "Z-Image", {"layers.0.attention.to_q.weight": 2, "all_x_embedder.2-1.weight": 2}
            ),
        ),
        evidence=ShapeEvidence(ratios={".attention.qkv": (3, 1)}),
        components=(
            denoiser_component(TRANSFORMER, "original", folder="transformer", bare=TRANSFORMER.starts()),
            language_model("qwen3_4b"),
            vae_component("vae."),
        ),
        words=MetadataWords(
            MODEL,
            MODEL,
            "https://github.com/Tongyi-MAI/Z-Image",
            module="networks.lora_zimage",
            tells_prediction=False,
        ),
        prediction="flow",
        loaders=LOADERS,
        pictures=PICTURES,
        rules=(KeyRule("norm of Lumina 2, unused in pictures", r"(.*\.)?norm_final\.weight", frozen=False),),
    )
)
