"""Networks from tensors: diffusers' converters for the names, strict loading for everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from loralathe.errors import InputError
from loralathe.families import Pictures, TextReading, vae_component
from loralathe.rendering.loading import shapes
from loralathe.rendering.loading.weights import Weights, read_under
from loralathe.rendering.machine import library

Tensors: TypeAlias = dict[str, torch.Tensor]
Network: TypeAlias = Any
"""A network of diffusers or transformers."""
CONVERTERS = "diffusers.loaders.single_file_utils"
VAE = "first_stage_model."
STATISTICS = "bn."
"""Of the latents, in the VAE of Flux.2."""
PROJECTION = "text_projection.weight"
T5_TABLE = "encoder.embed_tokens.weight"
UNREAD_OF_CLIP = ("position_ids", "logit_scale")


def filled(make: Callable[[], Any], tensors: Tensors, what: str, where: str) -> Network:
    """The network that `make` builds, holding `tensors`; every parameter must be given, none left over."""
    with library("accelerate").init_empty_weights(include_buffers=False):
        network = make()
    try:
        network.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise InputError(
            f"the {what} cannot be loaded", where=f"{where}: {' '.join(lines)[:400]}",
            fix="the checkpoint is incomplete, or parts of it come from another family",
        ) from error  # fmt: skip
    network.eval()
    network.requires_grad_(False)
    return network


def load_unet(weights: Weights, config: shapes.Config, dtype: torch.dtype) -> Network:
    """The U-Net of a checkpoint in the original layout."""
    make = library("diffusers").UNet2DConditionModel
    convert = library(CONVERTERS).convert_ldm_unet_checkpoint
    tensors = convert(read_under(weights, [shapes.UNET], dtype), config)
    return filled(lambda: make(**config), tensors, "U-Net", weights.name)


def load_vae(weights: Weights, pictures: Pictures, dtype: torch.dtype) -> Network:
    """The VAE of a checkpoint, or of a file of its own, in the original or the diffusers layout."""
    convert = library(CONVERTERS).convert_ldm_vae_checkpoint
    prefix = next((p for p in (VAE, "vae.", "") if f"{p}decoder.conv_in.weight" in weights.tensors), None)
    if prefix is None:
        raise InputError(
            "there is no VAE in the file", where=weights.name, fix="name a VAE file beside the checkpoint"
        )
    config = shapes.vae_config(
        weights.tensors,
        prefix,
        scaling_factor=pictures.latent_scaling,
        shift_factor=pictures.latent_shift,
        side=pictures.tile,
    )
    wanted = [prefix + part for part in ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")]
    tensors = read_under(weights, wanted, dtype)
    statistics = read_under(weights, [prefix + STATISTICS], torch.float32)
    if f"{prefix}encoder.down.0.block.0.conv1.weight" in tensors:
        component = vae_component(prefix)
        tensors = convert({component.modern_key(key): value for key, value in tensors.items()}, config)
    else:
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    if not statistics:
        make = library("diffusers").AutoencoderKL
        return filled(lambda: make(**config), tensors, "VAE", weights.name)
    tensors |= {f"{STATISTICS}num_batches_tracked": torch.tensor(0)}
    tensors |= {key.removeprefix(prefix): tensor for key, tensor in statistics.items()}
    own = {key: value for key, value in config.items() if key not in ("scaling_factor", "shift_factor")}
    make = library("diffusers").AutoencoderKLFlux2
    return filled(lambda: make(**own), tensors, "VAE", weights.name)


def load_clip(weights: Weights, root: str, dtype: torch.dtype, reading: TextReading) -> Network:
    """CLIP as transformers' CLIPTextModel. Old merges leave out the inner `text_model.`; both are read."""
    inner = "text_model." if any(key.startswith(root + "text_model.") for key in weights.tensors) else ""
    config = shapes.clip_config(weights.tensors, root + inner, open_clip=reading.network == "clip_g")
    tensors = {key.removeprefix(root): tensor for key, tensor in read_under(weights, [root], dtype).items()}
    plain = {
        key.removeprefix(inner): tensor
        for key, tensor in tensors.items()
        if not key.endswith(UNREAD_OF_CLIP) and key != PROJECTION
    }
    wrapped = _as_wrapped(plain, reading.class_name, config)
    if reading.projected and reading.pooled and PROJECTION in tensors:
        wrapped[PROJECTION] = tensors[PROJECTION]
    return filled(lambda: _text_model(reading.class_name, config), wrapped, "text encoder", weights.name)


def load_t5(weights: Weights, root: str, dtype: torch.dtype, reading: TextReading) -> Network:
    """The encoder half of T5 as transformers' T5EncoderModel."""
    transformers = library("transformers")
    config = shapes.t5_config(weights.tensors, root)
    starts = [f"{root}encoder.", f"{root}shared."]
    tensors = {key.removeprefix(root): tensor for key, tensor in read_under(weights, starts, dtype).items()}
    tensors[T5_TABLE] = tensors["shared.weight"]  # one table under two names; most files have it once

    def make() -> Network:
        return transformers.T5EncoderModel(transformers.T5Config(**config))

    return filled(make, tensors, "T5 text encoder", weights.name)


def load_open_clip(weights: Weights, root: str, dtype: torch.dtype, reading: TextReading) -> Network:
    """OpenCLIP as transformers' CLIP: with text_projection if it is pooled, without layers that are cut."""
    convert = library(CONVERTERS).convert_open_clip_checkpoint
    config = shapes.open_clip_config(weights.tensors, root)
    tensors = read_under(weights, [root], dtype)
    tensors.pop(root + "logit_scale", None)
    kept = config["num_hidden_layers"] - reading.cut
    for layer in range(kept, config["num_hidden_layers"]):
        for key in [k for k in tensors if k.startswith(f"{root}transformer.resblocks.{layer}.")]:
            del tensors[key]
    config = {**config, "num_hidden_layers": kept}
    kind = reading.class_name
    converted = convert(_blank(kind, config), tensors, prefix=root)
    projection = converted.pop("text_projection.weight", tensors.get(root + "text_projection.weight"))
    plain = {key.removeprefix("text_model."): tensor for key, tensor in converted.items()}
    wrapped = _as_wrapped(plain, kind, config)
    if reading.pooled and projection is not None:
        wrapped["text_projection.weight"] = projection
    return filled(lambda: _text_model(kind, config), wrapped, "text encoder", weights.name)


def load_qwen3(weights: Weights, root: str, dtype: torch.dtype, reading: TextReading) -> Network:
    """Qwen3 as transformers' Qwen3Model, without the head that predicts the next word."""
    transformers = library("transformers")
    config = shapes.qwen3_config(weights.tensors, root)
    starts = [root + part for part in ("layers.", "embed_tokens.", "norm.")]
    tensors = {key.removeprefix(root): tensor for key, tensor in read_under(weights, starts, dtype).items()}

    def make() -> Network:
        return transformers.Qwen3Model(transformers.Qwen3Config(**config))

    return filled(make, tensors, "text encoder", weights.name)


LOADERS = {
    "clip": load_clip,
    "clip_g": load_clip,
    "open_clip": load_open_clip,
    "t5": load_t5,
    "qwen3": load_qwen3,
}
"""Kind of a text encoder → what loads it."""


def _text_model(kind: str, config: shapes.Config) -> Network:
    transformers = library("transformers")
    return getattr(transformers, kind)(transformers.CLIPTextConfig(**config))


def _blank(kind: str, config: shapes.Config) -> Network:
    """A text encoder without weights, to look at."""
    with torch.device("meta"):
        return _text_model(kind, config)


def _as_wrapped(plain: Tensors, kind: str, config: shapes.Config) -> Tensors:
    """Keys as this transformers version wants them: some classes keep an inner `text_model`, some lost it."""
    inner = "text_model." if hasattr(_blank(kind, config), "text_model") else ""
    return {inner + key: tensor for key, tensor in plain.items()}
