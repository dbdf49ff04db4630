"""Flux.2: dev, Klein 9B and Klein 4B, which differ in their number of blocks; the text encoder is another.

Layers keep the names of the original release, q, k and v in one tensor. Names are those of Flux.1, and Klein
4B is as wide; but no layer has a bias, all blocks share three modulations, and the first half of an MLP makes
two numbers for each that it keeps. So other rows for each input tell their LoRAs apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.components import Component, denoiser_component
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.language_models import language_model
from loralathe.families.layers import Layer, Split, bare_layer, layer, split_layer
from loralathe.families.loaders import FLUX_LOADERS, Starts
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.pictures import Pictures, TextReading, Tokens, Usual, by_patches_and_steps
from loralathe.families.recognition import DENOISER_PREFIX, NOT_WHOLE, KeyRule, Signature, UnreadFile
from loralathe.families.transformer import Stage, Transformer
from loralathe.families.vae import vae_component

DOUBLE, DIFFUSERS_DOUBLE = "double_blocks.#", "transformer_blocks.#"
SINGLE, DIFFUSERS_SINGLE = "single_blocks.#", "single_transformer_blocks.#"
# Stream of a block → diffusers' names for its parts: MLP, out, q k v, norms.
STREAMS = {
    "img": ("ff", "to_out.0", ("to_q", "to_k", "to_v"), ("norm_q", "norm_k")),
    "txt": (
        "ff_context",
        "to_add_out",
        ("add_q_proj", "add_k_proj", "add_v_proj"),
        ("norm_added_q", "norm_added_k"),
    ),
}
EMBEDDERS = {"time_in": "timestep_embedder", "guidance_in": "guidance_embedder"}
MODULATIONS = ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")
FLUX1_SLOTS = tuple(
    f"{DIFFUSERS_SINGLE}.{name}" for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
)
"""Names of Flux.1 in diffusers that ComfyUI reads here, too."""


def _layers() -> Iterator[Layer]:
    yield _linear("img_in", "x_embedder")
    yield _linear("txt_in", "context_embedder")
    for name, diffusers in EMBEDDERS.items():
        for end, number in (("in_layer", 1), ("out_layer", 2)):
            path = f"{diffusers}.linear_{number}"
            yield _linear(
                f"{name}.{end}", f"time_guidance_embed.{path}", aliases=(f"time_text_embed.{path}",)
            )
    for name in MODULATIONS:
        yield _linear(f"{name}.lin", f"{name}.linear")
    for stream in STREAMS:
        yield from _double_layers(stream)
    fused = (Split(FLUX1_SLOTS, (1, 1, 1, 6)), Split((f"{SINGLE}.linear1_qkv", ""), (3, 6), original=True))
    into, out = f"{DIFFUSERS_SINGLE}.attn.to_qkv_mlp_proj", f"{DIFFUSERS_SINGLE}.attn.to_out"
    yield layer(f"{SINGLE}.linear1", into, "linear", bias=False, splits=fused)
    other = (f"{DIFFUSERS_SINGLE}.proj_out", f"{out}.0")
    yield layer(f"{SINGLE}.linear2", out, "linear", bias=False, aliases=other)
    yield from _norms(f"{SINGLE}.norm", f"{DIFFUSERS_SINGLE}.attn", ("norm_q", "norm_k"))
    yield _linear("final_layer.linear", "proj_out")
    modulation = "final_layer.adaLN_modulation.1"
    yield layer(modulation, "norm_out.linear", transform="halves_swapped", bias=False)


def _double_layers(stream: str) -> Iterator[Layer]:
    mlp, out, qkv, norms = STREAMS[stream]
    attention = f"{DIFFUSERS_DOUBLE}.attn"
    slots = tuple(f"{attention}.{name}" for name in qkv)
    yield split_layer(f"{DOUBLE}.{stream}_attn.qkv", slots, "linear", bias=False)
    yield layer(f"{DOUBLE}.{stream}_attn.proj", f"{attention}.{out}", "linear", bias=False)
    for number, name, flux1 in ((0, "linear_in", "net.0.proj"), (2, "linear_out", "net.2")):
        path = f"{DIFFUSERS_DOUBLE}.{mlp}"
        aliases = (f"{path}.{flux1}",)
        yield layer(
            f"{DOUBLE}.{stream}_mlp.{number}", f"{path}.{name}", "linear", bias=False, aliases=aliases
        )
    yield from _norms(f"{DOUBLE}.{stream}_attn.norm", attention, norms)


def _norms(path: str, attention: str, names: tuple[str, ...]) -> Iterator[Layer]:
    for name, diffusers in zip(("query_norm", "key_norm"), names, strict=True):
        yield bare_layer(f"{path}.{name}", f"{attention}.{diffusers}", f"{path}.{name}.weight")


def _linear(name: str, diffusers: str, aliases: tuple[str, ...] = ()) -> Layer:
    return layer(name, diffusers, bias=False, aliases=aliases)


GUIDANCE = "guidance_in.in_layer.weight"
RATIOS = {
    **{f".{stream}_mlp.0": (6, 1) for stream in STREAMS},
    **{f".{stream}_mlp.2": (1, 3) for stream in STREAMS},
    ".linear1": (9, 1),
    ".linear2": (1, 4),
}
"""(rows, inputs), by which Flux.1 and Chroma, of the same names, are told apart at the same width."""


LOADERS = {
    **FLUX_LOADERS,
    "comfyui": Starts(
        original=("lora_unet_", "diffusion_model."),
        diffusers=("transformer.", "lycoris_", "lora_transformer_", ""),
        lacks=("double_stream_modulation", "single_stream_modulation", "time_guidance_embed"),
    ),
    "diffusers": Starts(
        original=("lora_unet_", "diffusion_model.", "base_model.model."), diffusers=("transformer.",)
    ),
}


def _family(
    name: str, label: str, released: str, blocks: tuple[int, int], text: Component, words: MetadataWords,
    *, more_than: int, variant: str, pictures: Pictures | None = None, undrawn: str = "",
) -> Family:  # fmt: skip
    """One of the family: with so many double and single blocks, more single ones than the next smaller."""
    double, single = blocks
    transformer = Transformer(
        layers=_layers,
        entry="img_in",
        inputs={128: variant},
        stages=(Stage("double_blocks", "D", double), Stage("single_blocks", "S", single)),
        first={"IN": ("img_in", "txt_in", *EMBEDDERS, *MODULATIONS)},
        last={"OUT": ("final_layer",)},
        optional={"guidance_in.": GUIDANCE},
    )
    return Family(
        id=name,
        label=label,
        released=released,
        signature=Signature(
            has={
                "img_in.weight": 2,
                "double_stream_modulation_img.lin.weight": 2,
                "double_blocks.0.img_attn.qkv.weight": 2,
                f"single_blocks.{more_than}.linear1.weight": 2,
                "final_layer.linear.weight": 2,
            },
            lacks=(f"single_blocks.{single}.linear1.weight",),
            prefixes=(DENOISER_PREFIX, ""),
        ),
        unread=DIFFUSERS_FILES,
        evidence=ShapeEvidence(ratios=RATIOS),
        components=(
            denoiser_component(
                transformer,
                "original",
                folder="transformer",
                bare=transformer.starts(),
                renamed={f"{norm}.scale": f"{norm}.weight" for norm in (".query_norm", ".key_norm")},
                kohya=("lora_transformer_",),
            ),
            text,
            vae_component("vae."),
        ),
        words=words,
        prediction="flow",
        loaders=LOADERS,
        pictures=pictures,
        undrawn=undrawn,
        rules=(KeyRule("statistics of latents", r"vae\.bn\..*", frozen=True),),
    )


def _words(size: str) -> MetadataWords:
    """What trainers note: musubi-tuner's words first, AI-Toolkit's beside them."""
    model = ModelName(f"flux_2_{size.replace('-', '_')}", f"Flux.2-{size}", "1024x1024")
    ours = "flux2" if size == "dev" else f"flux2_{size.replace('-', '_')}"
    return MetadataWords(
        epsilon=model,
        v=model,
        implementation="https://github.com/black-forest-labs/flux2",
        module="networks.lora_flux_2",
        tells_prediction=False,
        others=(ours,),
    )


DIFFUSERS_FILES = (
    UnreadFile(
        "a Flux.2 transformer in the diffusers layout",
        NOT_WHOLE,
        Signature(
            {"single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight": 2, "x_embedder.weight": 2},
            prefixes=("", DENOISER_PREFIX, "transformer."),
        ),
    ),
)
KLEIN = "base or distilled"  # the weights alone tell them apart


def _pictures(encoder: str, width: int) -> Pictures:
    """As distilled Klein is drawn. width: of the text encoder, whose three states stand side by side."""
    template = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    return Pictures(
        side=1024,
        tile=1024,
        latent_scaling=1.0,
        readings=(
            TextReading(
                "te1",
                "qwen3",
                states=(9, 18, 27),
                tokens=Tokens(512, "<|endoftext|>", comfyui="qwen25_tokenizer", template=template),
                depth=36,
                file=encoder,
            ),
        ),
        folder={"_class_name": "Flux2Transformer2DModel", "joint_attention_dim": 3 * width},
        network="flux2",
        variants={KLEIN: Usual(4, 1.0, "Euler", shift=by_patches_and_steps)},
        vae_file="flux2-vae.safetensors",
        multiple=16,
        half="bf16",
        axes=(32, 32, 32, 32),
    )


FLUX2 = register(
    _family(
        "flux2", "Flux.2 dev", "2025-11", (8, 48), language_model("mistral3_24b"), _words("dev"),
        more_than=24, variant="dev",
        undrawn="its prompts are read by Mistral Small 3, a network that is not read here; draw with "
        "Flux.2 Klein, or merge here and draw with ComfyUI or diffusers",
    )
)  # fmt: skip
KLEIN_9B = register(
    _family(
        "klein9b", "Flux.2 Klein 9B", "2026-01", (8, 24), language_model("qwen3_8b"), _words("klein-9b"),
        more_than=20, variant=KLEIN, pictures=_pictures("qwen_3_8b.safetensors", 4096),
    )
)  # fmt: skip
KLEIN_4B = register(
    _family(
        "klein4b", "Flux.2 Klein 4B", "2026-01", (5, 20), language_model("qwen3_4b"), _words("klein-4b"),
        more_than=0, variant=KLEIN, pictures=_pictures("qwen_3_4b.safetensors", 2560),
    )
)  # fmt: skip
