"""From one file (or tensors in memory, or a diffusers folder) to an open model, fully offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from loralathe.errors import InputError
from loralathe.families import Detected, detect_checkpoint
from loralathe.rendering.families import family_of_folder, how_drawn, read_config
from loralathe.rendering.loading import shapes
from loralathe.rendering.loading.model import Model, TextEncoder, name_modules
from loralathe.rendering.loading.networks import LOADERS, load_unet, load_vae
from loralathe.rendering.loading.weights import Weights
from loralathe.rendering.machine import library
from loralathe.rendering.samplers import Prediction

ZERO_TERMINAL_MARK = "ztsnr"


def open_model(weights: Weights, dtype: torch.dtype, *, prediction: Prediction | None = None) -> Model:
    """Build all networks of a checkpoint in the original layout, in `dtype`, on the CPU.

    A checkpoint without VAE opens too (`vae` None). Raises InputError for any file but a text-to-image
    checkpoint of a known family, and for missing or misshapen tensors.
    """
    detected = detect_checkpoint(weights, weights.name)
    family = detected.family
    pictures = how_drawn(family, weights.name)
    if detected.variant != "base":
        raise InputError(
            f"{detected.variant} models do not make images from text alone",
            where=weights.name,
            fix="render with the base model it was made from",
        )
    missing = family.encoder_blocks.keys() - set(detected.components)
    if missing:
        raise InputError(
            f"the checkpoint has no text encoder ({', '.join(sorted(missing))})",
            where=weights.name,
            fix="render with a full checkpoint",
        )
    encoders = tuple(
        TextEncoder(
            reading,
            LOADERS[reading.network](weights, family.component(reading.component).prefix, dtype, reading),
        )
        for reading in pictures.readings
    )
    config = shapes.unet_config(weights.tensors, heads=pictures.heads)
    pooled = [encoder.network.config.projection_dim for encoder in encoders if encoder.reading.pooled]
    if pooled:
        config = shapes.with_time_width(config, pooled[0])
    denoiser = load_unet(weights, config, dtype)
    vae = load_vae(weights, pictures, dtype) if "vae" in detected.components else None
    return Model(
        name=weights.name,
        family=family,
        denoiser=denoiser,
        vae=vae,
        encoders=encoders,
        prediction=prediction_of(detected, weights, prediction),
        zero_terminal_snr=ZERO_TERMINAL_MARK in weights.tensors,
        dtype=dtype,
        modules=name_modules(family, denoiser, encoders),
    )


def prediction_of(detected: Detected, weights: Weights, wanted: Prediction | None) -> Prediction:
    """'epsilon' or 'v_prediction': what the person says, else the file's mark, else what the weights tell."""
    if wanted is not None:
        return wanted
    if detected.prediction in ("edm", "edm-v"):
        raise InputError(
            f"models of the EDM kind cannot be rendered ({detected.prediction_source})", where=weights.name
        )
    if detected.prediction is not None:
        return "v_prediction" if detected.prediction == "v" else "epsilon"
    assert detected.family.pictures is not None
    assert detected.family.pictures.telltale is not None
    key, limit = detected.family.pictures.telltale
    return "v_prediction" if weights.read(key).float().std(correction=0).item() > limit else "epsilon"


def open_folder(folder: Path, dtype: torch.dtype, *, prediction: Prediction | None = None) -> Model:
    """The same from a diffusers folder (model_index.json, unet/, text_encoder/, vae/ …)."""
    diffusers, transformers = library("diffusers"), library("transformers")
    family = family_of_folder(folder)
    pictures = how_drawn(family, str(folder))

    def load(kind: Any, name: str) -> Any:
        found = kind.from_pretrained(str(folder / name), local_files_only=True, torch_dtype=dtype)
        return found.eval().requires_grad_(False)

    encoders = tuple(
        TextEncoder(
            reading,
            load(getattr(transformers, reading.class_name), family.component(reading.component).folder),
        )
        for reading in pictures.readings
    )
    denoiser = load(diffusers.UNet2DConditionModel, "unet")
    vae = load(diffusers.AutoencoderKL, "vae") if (folder / "vae").is_dir() else None
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    noted: Prediction = "v_prediction" if scheduler.get("prediction_type") == "v_prediction" else "epsilon"
    return Model(
        name=str(folder),
        family=family,
        denoiser=denoiser,
        vae=vae,
        encoders=encoders,
        prediction=prediction or noted,
        zero_terminal_snr=bool(scheduler.get("rescale_betas_zero_snr")),
        dtype=dtype,
        modules=name_modules(family, denoiser, encoders),
    )
