"""From one file (or tensors in memory, or a diffusers folder) to an open model, fully offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from loralathe.errors import InputError
from loralathe.families import (
    SD1,
    SDXL,
    Family,
    detect_checkpoint,
    family_by_id,
)
from loralathe.rendering.families import cannot_render, require_rendered
from loralathe.rendering.libraries import library
from loralathe.rendering.loading import shapes
from loralathe.rendering.loading.model import Model, TextEncoder, name_modules
from loralathe.rendering.loading.networks import load_clip, load_open_clip, load_unet, load_vae
from loralathe.rendering.loading.prediction import ends_in_noise, prediction_of
from loralathe.rendering.loading.weights import Weights
from loralathe.rendering.samplers import Prediction
from loralathe.tensorfiles import read_text


def open_model(weights: Weights, dtype: torch.dtype, *, prediction: Prediction | None = None) -> Model:
    """Build all networks of a checkpoint in the original layout, in `dtype`, on the CPU.

    A checkpoint without VAE opens too (`vae` None). Raises InputError for what is no text-to-image
    checkpoint of a known family, and for missing or misshapen tensors.
    """
    detected = detect_checkpoint(weights, weights.name)
    require_rendered(detected.family, weights.name)
    if detected.variant != "base":
        raise InputError(
            f"{detected.variant} models do not make images from text alone",
            where=weights.name,
            fix="render with the base model it was made from",
        )
    family = detected.family
    missing = {"te1", "te2"} & set(family.components) - set(detected.components)
    if missing:
        raise InputError(
            f"the checkpoint has no text encoder ({', '.join(sorted(missing))})",
            where=weights.name,
            fix="render with a full checkpoint",
        )
    encoders = _encoders(family, weights, dtype)
    config = shapes.unet_config(weights.tensors, family=family.id)
    if family is SDXL:
        config = shapes.with_time_width(config, encoders[1].network.config.projection_dim)
    unet = load_unet(weights, config, dtype)
    vae = None
    if "vae" in detected.components:
        vae = load_vae(weights, family=family.id, dtype=dtype)
    return Model(
        name=weights.name,
        family=family,
        unet=unet,
        vae=vae,
        encoders=encoders,
        prediction=prediction_of(detected, weights, prediction),
        zero_terminal_snr=ends_in_noise(weights),
        dtype=dtype,
        modules=name_modules(family, unet, encoders),
    )


def _encoders(family: Family, weights: Weights, dtype: torch.dtype) -> tuple[TextEncoder, ...]:
    roots = family.components
    if family is SDXL:
        return described(
            family,
            load_clip(weights, roots["te1"], dtype),
            load_open_clip(weights, roots["te2"], dtype, projected=True),
        )
    if family is SD1:
        return described(family, load_clip(weights, roots["te1"], dtype))
    return described(family, load_open_clip(weights, roots["te1"], dtype, projected=False))


def described(family: Family, *networks: Any) -> tuple[TextEncoder, ...]:
    """The text encoders of a family with the way each is read."""
    if family is SDXL:
        first, second = networks
        return (
            TextEncoder("te1", first, "end", default_skip=2, cut=0, final_norm=False, pooled=False),
            TextEncoder("te2", second, "zero", default_skip=2, cut=0, final_norm=False, pooled=True),
        )
    (only,) = networks
    if family is SD1:
        return (TextEncoder("te1", only, "end", default_skip=1, cut=0, final_norm=True, pooled=False),)
    return (TextEncoder("te1", only, "zero", default_skip=2, cut=1, final_norm=True, pooled=False),)


def open_folder(folder: Path, dtype: torch.dtype, *, prediction: Prediction | None = None) -> Model:
    """The same from a diffusers folder (model_index.json, unet/, text_encoder/, vae/ …)."""
    diffusers, transformers = library("diffusers"), library("transformers")
    family = family_of_folder(folder)

    def load(kind: Any, name: str) -> Any:
        found = kind.from_pretrained(str(folder / name), local_files_only=True, torch_dtype=dtype)
        return found.eval().requires_grad_(False)

    networks = [load(transformers.CLIPTextModel, "text_encoder")]
    if family is SDXL:
        networks.append(load(transformers.CLIPTextModelWithProjection, "text_encoder_2"))
    unet = load(diffusers.UNet2DConditionModel, "unet")
    vae = load(diffusers.AutoencoderKL, "vae") if (folder / "vae").is_dir() else None
    encoders = described(family, *networks)
    scheduler = _json(folder / "scheduler" / "scheduler_config.json")
    noted: Prediction = "v_prediction" if scheduler.get("prediction_type") == "v_prediction" else "epsilon"
    return Model(
        name=str(folder),
        family=family,
        unet=unet,
        vae=vae,
        encoders=encoders,
        prediction=prediction or noted,
        zero_terminal_snr=bool(scheduler.get("rescale_betas_zero_snr")),
        dtype=dtype,
        modules=name_modules(family, unet, encoders),
    )


def family_of_folder(folder: Path) -> Family:
    """The family that a diffusers folder says it is. InputError for a folder that is none."""
    unet = _json(folder / "unet" / "config.json")
    transformer = _json(folder / "transformer" / "config.json")
    if transformer:
        kind = str(transformer.get("_class_name", "")).removesuffix("Transformer2DModel")
        raise cannot_render(kind or "transformer", str(folder))
    if not unet:
        raise InputError(
            "the folder is no diffusers model: unet/config.json is missing",
            where=str(folder),
            fix="give a .safetensors checkpoint or a folder that diffusers' save_pretrained wrote",
        )
    if unet.get("in_channels") != 4:
        raise InputError("only text-to-image models can be rendered", where=str(folder))
    if unet.get("addition_embed_type") == "text_time":
        return family_by_id("sdxl")
    return family_by_id("sd2" if unet.get("use_linear_projection") else "sd1")


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(read_text(path, "model's configuration"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            "the model's configuration is not a JSON object",
            where=str(path),
            fix="download or copy the folder again",
        )
    return found
