"""SD 3 medium, SD 3.5 medium and SD 3.5 large: a transformer of joint blocks, CLIP-L, CLIP-G and T5-XXL.

A file holds the transformer with its VAE, the transformer alone, or all of the model as ComfyUI saves it.
A joint block has a half for the picture (`x_block`) and one for the text (`context_block`), each with q, k
and v in one tensor: so sd-scripts trains them. The last block's text goes nowhere, so its half ends with q, k
and v. SD 3.5 medium has a second attention in its first blocks; SD 3 medium has no norms of q and k.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from loralathe.families.components import Component, denoiser_component
from loralathe.families.encoders import clip_layers, t5_layers
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.layers import Layer, Transform, bare_layer, layer, parameter, split_layer
from loralathe.families.loaders import TRANSFORMER_LOADERS, Starts
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.pictures import Pictures, TextReading, Tokens, Usual, always
from loralathe.families.recognition import DENOISER_PREFIX, NOT_WHOLE, Signature, UnreadFile
from loralathe.families.transformer import Stage, Transformer
from loralathe.families.vae import VAE

BLOCK, DIFFUSERS_BLOCK = "joint_blocks.#", "transformer_blocks.#"
# Half of a block → diffusers' names for its parts: adaLN, MLP, out, q k v, norms.
HALVES = {
    "x_block": ("norm1", "ff", "to_out.0", ("to_q", "to_k", "to_v"), ("norm_q", "norm_k")),
    "context_block": (
        "norm1_context",
        "ff_context",
        "to_add_out",
        ("add_q_proj", "add_k_proj", "add_v_proj"),
        ("norm_added_q", "norm_added_k"),
    ),
}
EMBEDDERS = {"t_embedder": "timestep_embedder", "y_embedder": "text_embedder"}
INPUT_LAYERS = ("pos_embed", "x_embedder", "context_embedder", *EMBEDDERS)
SECOND = f"{BLOCK}.x_block.attn2"


def _layers(depth: int) -> Iterator[Layer]:
    yield parameter("pos_embed", "pos_embed.pos_embed")
    yield layer("x_embedder.proj", "pos_embed.proj")
    yield layer("context_embedder")
    for name, diffusers in EMBEDDERS.items():
        yield layer(f"{name}.mlp.0", f"time_text_embed.{diffusers}.linear_1")
        yield layer(f"{name}.mlp.2", f"time_text_embed.{diffusers}.linear_2")
    last = f"joint_blocks.{depth - 1}.context_block"
    yield _modulation(last, f"transformer_blocks.{depth - 1}.norm1_context", "halves_swapped")
    for half, (modulation, mlp, out, qkv, norms) in HALVES.items():
        path = f"{BLOCK}.{half}"
        yield _modulation(path, f"{DIFFUSERS_BLOCK}.{modulation}", "none")
        yield layer(f"{path}.mlp.fc1", f"{DIFFUSERS_BLOCK}.{mlp}.net.0.proj", "linear")
        yield layer(f"{path}.mlp.fc2", f"{DIFFUSERS_BLOCK}.{mlp}.net.2", "linear")
        yield from _attention(f"{path}.attn", f"{DIFFUSERS_BLOCK}.attn", out, qkv, norms)
    _, _, out, qkv, norms = HALVES["x_block"]
    yield from _attention(SECOND, f"{DIFFUSERS_BLOCK}.attn2", out, qkv, norms)
    yield layer("final_layer.linear", "proj_out")
    yield layer("final_layer.adaLN_modulation.1", "norm_out.linear", transform="halves_swapped")


def _modulation(path: str, diffusers: str, transform: Transform) -> Layer:
    return layer(f"{path}.adaLN_modulation.1", f"{diffusers}.linear", "linear", transform=transform)


def _attention(
    path: str, diffusers: str, out: str, qkv: tuple[str, ...], norms: tuple[str, ...]
) -> Iterator[Layer]:
    yield split_layer(f"{path}.qkv", tuple(f"{diffusers}.{name}" for name in qkv), "linear")
    yield layer(f"{path}.proj", f"{diffusers}.{out}", "linear")
    for name, renamed in zip(("ln_q", "ln_k"), norms, strict=True):
        yield bare_layer(f"{path}.{name}", f"{diffusers}.{renamed}", f"{path}.{name}.weight")


TEXT_END = f"{BLOCK}.context_block"
OPTIONAL = {
    f"{TEXT_END}.attn.proj.": f"{TEXT_END}.attn.proj.weight",
    f"{TEXT_END}.mlp.": f"{TEXT_END}.mlp.fc1.weight",
    f"{SECOND}.": f"{SECOND}.qkv.weight",
    **{f"{BLOCK}.{half}.attn.ln_": f"{BLOCK}.{half}.attn.ln_q.weight" for half in HALVES},
}
FIRST_ATTENTION = "joint_blocks.0.x_block.attn"
NORMS, TWO = f"{FIRST_ATTENTION}.ln_q.weight", f"{FIRST_ATTENTION}2.qkv.weight"


LOADERS = {
    **TRANSFORMER_LOADERS,
    "comfyui": Starts(
        original=("lora_unet_", "diffusion_model."),
        diffusers=("transformer.", "base_model.model.", "lora_transformer_", "lycoris_"),
    ),
    "diffusers": Starts(diffusers=("transformer.",)),  # kohya's names load nothing there
}


def _family(
    name: str,
    label: str,
    released: str,
    depth: int,
    *,
    has: tuple[str, ...],
    lacks: tuple[str, ...],
    rows: int,
    pictures: Pictures,
) -> Family:
    """One of the family; `rows` of the first block's modulation, in its width: three for each thing to do."""
    last = f"joint_blocks.{depth - 1}"
    transformer = Transformer(
        layers=partial(_layers, depth),
        entry="x_embedder.proj",
        inputs={16: "base"},
        stages=(Stage("joint_blocks", "J", depth),),
        first={"IN": INPUT_LAYERS},
        last={"OUT": ("final_layer",)},
        optional=OPTIONAL | {f"{last}.": f"{last}.x_block.attn.qkv.weight"},
    )
    spec = {"sd3": "medium", "sd35m": "5-medium", "sd35l": "5-large"}[name]
    model = ModelName(spec, f"stable-diffusion-3-{spec}", "1024x1024")
    return Family(
        id=name,
        label=label,
        released=released,
        signature=Signature(
            has={
                "x_embedder.proj.weight": 4,
                "joint_blocks.0.context_block.attn.qkv.weight": 2,
                "joint_blocks.0.x_block.mlp.fc1.weight": 2,
                "final_layer.linear.weight": 2,
                **{key: 2 if key == TWO else 1 for key in has},
            },
            lacks=lacks,
            prefixes=(DENOISER_PREFIX, ""),
        ),
        unread=DIFFUSERS_FILES,
        evidence=ShapeEvidence(
            ratios={".joint_blocks.0.x_block.adaLN_modulation.1": (rows, 1), ".fc1": (4, 1), ".fc2": (1, 4)}
        ),
        components=(
            denoiser_component(transformer, "original", folder="transformer", bare=transformer.starts()),
            _clip("te1", "text encoder 1", "clip_l", "text_encoder", "CLIP"),
            _clip("te2", "text encoder 2", "clip_g", "text_encoder_2", "CLIPG"),
            Component(
                id="te3",
                label="T5 text encoder",
                root="text_encoders.t5xxl.",
                prefix="text_encoders.t5xxl.transformer.",
                folder="text_encoder_3",
                layers=t5_layers,
                kohya=("lora_te3_",),
                block="T5",
            ),
            VAE,
        ),
        words=MetadataWords(
            epsilon=model,
            v=model,
            implementation="diffusers",
            module="networks.lora_sd3",
            tells_prediction=False,
            others=(f"stable-diffusion-{label.split()[1]}-{label.split()[2]}",),
        ),
        prediction="flow",
        loaders=LOADERS,
        seldom=True,
        pictures=pictures,
    )


def _clip(name: str, label: str, root: str, folder: str, block: str) -> Component:
    return Component(
        id=name,
        label=label,
        root=f"text_encoders.{root}.",
        prefix=f"text_encoders.{root}.transformer.",
        folder=folder,
        layers=partial(clip_layers, projection=True),
        kohya=(f"lora_{name}_",),
        block=block,
    )


DIFFUSERS_FILES = (
    UnreadFile(
        "an SD 3 or SD 3.5 transformer in the diffusers layout",
        NOT_WHOLE,
        Signature(
            {"transformer_blocks.0.attn.add_q_proj.weight": 2, "pos_embed.proj.weight": 4},
            prefixes=("", DENOISER_PREFIX, "transformer."),
        ),
    ),
)

READINGS = (
    # Its projection is the identity in the files that there are, and ComfyUI and diffusers leave it out.
    TextReading(
        "te1", "clip", default_skip=2, final_norm=False, pooled=True, projected=False, depth=12,
        file="clip_l.safetensors",
    ),
    TextReading(
        "te2", "clip_g", "zero", default_skip=2, final_norm=False, pooled=True, depth=32,
        file="clip_g.safetensors",
    ),
    TextReading(
        "te3", "t5", tokens=Tokens(256, "<pad>", "</s>", "t5_tokenizer"), depth=24,
        file="t5xxl_fp16.safetensors", optional=True,
    ),
)  # fmt: skip


def _pictures(steps: int, cfg: float, folder: Mapping[str, object]) -> Pictures:
    """As diffusers draws it: levels down to the lowest of training, then 0."""
    return Pictures(
        side=1024,
        tile=1024,
        latent_scaling=1.5305,
        latent_shift=0.0609,
        readings=READINGS,
        folder={"_class_name": "SD3Transformer2DModel", **folder},
        network="sd3",
        variants={"base": Usual(steps, cfg, "Euler", shift=always(3.0), lowest=True)},
        vae_file="sd3_vae.safetensors",
        multiple=16,
        half="bf16",
    )


NORMED: Mapping[str, object] = {"qk_norm": "rms_norm"}

SD3 = register(
    _family(
        "sd3", "SD 3 medium", "2024-06", 24, has=(), lacks=(NORMS, TWO), rows=6,
        pictures=_pictures(28, 7.0, {"num_layers": 24, "qk_norm": None}),
    )
)  # fmt: skip
SD35_LARGE = register(
    _family(
        "sd35l", "SD 3.5 large", "2024-10", 38, has=(NORMS,), lacks=(TWO,), rows=6,
        pictures=_pictures(28, 3.5, {"num_layers": 38, **NORMED}),
    )
)  # fmt: skip
SD35_MEDIUM = register(
    _family(
        "sd35m", "SD 3.5 medium", "2024-11", 24, has=(NORMS, TWO), lacks=(), rows=9,
        pictures=_pictures(40, 4.5, {"num_layers": 24, **NORMED}),
    )
)  # fmt: skip
