"""Anima: Cosmos-Predict2's transformer with an adapter for Qwen3 0.6B before it, and Wan's VAE.

Bases of 28, 40 and 52 blocks are sisters: one family each, for their blocks do not stand for one another.
`llm_adapter` is a part of the file that trainers leave alone; a LoRA that names it changes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.components import denoiser_component
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.language_models import language_model
from loralathe.families.layers import Layer, Scope, bare_layer, layer
from loralathe.families.loaders import TRANSFORMER_LOADERS, Starts
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.recognition import DENOISER_PREFIX, Signature, UnreadFile, diffusers_layout
from loralathe.families.transformer import Stage, Transformer
from loralathe.families.wan_vae import WAN_VAE

BLOCK, DIFFUSERS_BLOCK = "blocks.#", "transformer_blocks.#"
PROJECTIONS = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "output_proj": "to_out.0"}
MODULATED = {"self_attn": "norm1", "cross_attn": "norm2", "mlp": "norm3"}
"""What the noise level modulates → where diffusers keeps the modulation."""
OTHER_PREFIX = "net."
"""Files of the trainer have it in place of ComfyUI's prefix."""


def _layers() -> Iterator[Layer]:
    yield _linear("x_embedder.proj.1", "patch_embed.proj")
    for number in (1, 2):
        yield _linear(f"t_embedder.1.linear_{number}", f"time_embed.t_embedder.linear_{number}")
        yield _linear(f"final_layer.adaln_modulation.{number}", f"norm_out.linear_{number}")
    yield _norm("t_embedding_norm", "time_embed.norm")
    yield _linear("final_layer.linear", "proj_out")
    for attention, diffusers in (("self_attn", "attn1"), ("cross_attn", "attn2")):
        for name, renamed in PROJECTIONS.items():
            yield _linear(f"{BLOCK}.{attention}.{name}", f"{DIFFUSERS_BLOCK}.{diffusers}.{renamed}", "linear")
        for letter in "qk":
            yield _norm(f"{BLOCK}.{attention}.{letter}_norm", f"{DIFFUSERS_BLOCK}.{diffusers}.norm_{letter}")
    yield _linear(f"{BLOCK}.mlp.layer1", f"{DIFFUSERS_BLOCK}.ff.net.0.proj", "linear")
    yield _linear(f"{BLOCK}.mlp.layer2", f"{DIFFUSERS_BLOCK}.ff.net.2", "linear")
    for part, norm in MODULATED.items():
        for number in (1, 2):
            original = f"{BLOCK}.adaln_modulation_{part}.{number}"
            yield _linear(original, f"{DIFFUSERS_BLOCK}.{norm}.linear_{number}")
    yield from _adapter_layers()


def _adapter_layers() -> Iterator[Layer]:
    """Not in diffusers' transformer: a pipeline has it as `text_conditioner`."""
    for attention in ("self_attn", "cross_attn"):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield _adapter(f"blocks.#.{attention}.{name}", bias=False)
        for name in ("q_norm", "k_norm"):
            yield _adapter(f"blocks.#.{attention}.{name}", "vector", bias=False)
        yield _adapter(f"blocks.#.norm_{attention}", "vector", bias=False)
    for number in (0, 2):
        yield _adapter(f"blocks.#.mlp.{number}")
    yield _adapter("blocks.#.norm_mlp", "vector", bias=False)
    yield _adapter("embed", bias=False)
    yield _adapter("norm", "vector", bias=False)
    yield _adapter("out_proj")


def _adapter(name: str, scope: Scope = "outside", *, bias: bool = True) -> Layer:
    return layer(f"llm_adapter.{name}", None, scope, bias=bias, aliases=(f"text_conditioner.{name}",))


def _linear(name: str, diffusers: str, scope: Scope = "outside") -> Layer:
    return layer(name, diffusers, scope, bias=False)


def _norm(name: str, diffusers: str) -> Layer:
    return bare_layer(name, diffusers, f"{name}.weight")


def _transformer(depth: int) -> Transformer:
    return Transformer(
        layers=_layers,
        entry="x_embedder.proj.1",
        inputs={68: "base"},  # 16 latent channels and a mask in patches of 2×2
        stages=(Stage("blocks", "B", depth),),
        first={"IN": ("x_embedder", "t_embedder", "t_embedding_norm"), "ADAPTER": ("llm_adapter",)},
        last={"OUT": ("final_layer",)},
    )


PREFIXES = (DENOISER_PREFIX, "", OTHER_PREFIX)
DEPTHS = (28, 40, 52)
COSMOS = UnreadFile(
    "a Cosmos-Predict2 model, or Anima without its llm_adapter",
    None,
    Signature(
        {"x_embedder.proj.1.weight": 2, "blocks.0.adaln_modulation_self_attn.1.weight": 2},
        lacks=("llm_adapter.blocks.0.cross_attn.q_proj.weight",),
        prefixes=PREFIXES,
    ),
)
DIFFUSERS = diffusers_layout(
    "Anima",
    {"transformer_blocks.0.norm1.linear_1.weight": 2, "transformer_blocks.0.attn1.to_q.weight": 2},
)
MODEL = ModelName("anima", "anima", "1024x1024")
WORDS = MetadataWords(
    MODEL,
    MODEL,
    "https://huggingface.co/circlestone-labs/Anima",
    module="networks.lora_anima",
    tells_prediction=False,
)


def _signature(depth: int) -> Signature:
    """A sister has more blocks than the one before, and no more than its own."""
    shown = {f"blocks.{other}.self_attn.q_proj.weight": 2 for other in DEPTHS if other < depth}
    return Signature(
        {
            "x_embedder.proj.1.weight": 2,
            "llm_adapter.blocks.0.cross_attn.q_proj.weight": 2,
            "blocks.0.self_attn.q_proj.weight": 2,
            "blocks.0.adaln_modulation_self_attn.1.weight": 2,
            "final_layer.linear.weight": 2,
            **shown,
        },
        lacks=() if depth == DEPTHS[-1] else (f"blocks.{depth}.self_attn.q_proj.weight",),
        prefixes=PREFIXES,
    )


LOADERS = {
    **TRANSFORMER_LOADERS,
    # It finds neither `transformer.` nor `net.`.
    "comfyui": Starts(original=("lora_unet_", "diffusion_model.")),
}


def _anima(depth: int, name: str, label: str, released: str) -> Family:
    structure = _transformer(depth)
    return register(
        Family(
            id=name,
            label=label,
            released=released,
            signature=_signature(depth),
            unread=(COSMOS, DIFFUSERS),
            evidence=ShapeEvidence(ratios={".mlp.layer1": (4, 1), ".mlp.layer2": (1, 4)}),
            components=(
                denoiser_component(
                    structure,
                    "original",
                    folder="transformer",
                    bare=structure.starts(),
                    others=(OTHER_PREFIX,),
                ),
                language_model("qwen3_06b"),
                WAN_VAE,
            ),
            words=WORDS,
            prediction="flow",
            loaders=LOADERS,
        )
    )


ANIMA = _anima(28, "anima", "Anima", "2026-01")
ANIMA_40 = _anima(40, "anima-40", "Anima 40", "2026-05")
ANIMA_52 = _anima(52, "anima-52", "Anima 52", "2026-07")
