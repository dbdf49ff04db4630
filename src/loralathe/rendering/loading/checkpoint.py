"""From one file (or tensors in memory, or a diffusers folder) to an open model, fully offline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from loralathe.errors import InputError, option
from loralathe.families import Detected, Family, Pictures, TextReading, Usual, detect_checkpoint
from loralathe.rendering.families import family_of_folder, how_drawn, variant_of_folder
from loralathe.rendering.loading.denoisers import variant_in
from loralathe.rendering.loading.kinds import KINDS
from loralathe.rendering.loading.model import Model, TextEncoder, name_modules
from loralathe.rendering.loading.networks import LOADERS, load_vae
from loralathe.rendering.loading.parts import PartFiles, Parts, find_parts
from loralathe.rendering.loading.tokenizers import open_tokenizer
from loralathe.rendering.loading.weights import FileWeights, MemoryWeights, Weights
from loralathe.rendering.machine import library
from loralathe.rendering.samplers import Prediction
from loralathe.tensorfiles import read_config

ZERO_TERMINAL_MARK = "ztsnr"


def open_model(
    weights: Weights,
    dtype: torch.dtype,
    *,
    prediction: Prediction | None = None,
    files: PartFiles | None = None,
) -> Model:
    """Build all networks of a checkpoint in the original layout, in `dtype`, on the CPU.

    A checkpoint without VAE opens too (`vae` None). Raises InputError for any file but a text-to-image
    checkpoint of a known family, for missing or misshapen tensors, and for parts that are nowhere.
    files: what else the person names.
    """
    detected = detect_checkpoint(weights, weights.name)
    family = detected.family
    pictures = how_drawn(family, weights.name)
    usual = usual_of(detected, weights.name)
    parts = find_parts(family, pictures, weights.tensors, files or PartFiles(), weights.name)
    encoders = open_encoders(parts, family, weights, dtype)
    kind = KINDS[pictures.network]
    denoiser = kind.build(weights, family, dtype)
    vae = open_vae(parts, weights, pictures, dtype) if has_vae(parts, family, weights) else None
    return Model(
        name=weights.name,
        family=family,
        denoiser=denoiser,
        kind=kind,
        vae=vae,
        encoders=encoders,
        prediction=prediction_of(detected, weights, prediction),
        usual=usual,
        zero_terminal_snr=ZERO_TERMINAL_MARK in weights.tensors,
        dtype=dtype,
        modules=name_modules(family, denoiser, encoders),
    )


def usual_of(detected: Detected, where: str) -> Usual:
    """How models of this variant are drawn; InputError for those that need more than a text."""
    assert detected.family.pictures is not None
    usual = detected.family.pictures.variants.get(detected.variant)
    if usual is None:
        raise InputError(
            f"{detected.variant} models do not make images from text alone",
            where=where,
            fix="render with the base model it was made from",
        )
    return usual


def open_encoders(
    parts: Parts, family: Family, weights: Weights, dtype: torch.dtype
) -> tuple[TextEncoder, ...]:
    """Those that there are, in the family's order."""
    assert family.pictures is not None
    readings = (one for one in family.pictures.readings if one.component in parts.encoders)
    return tuple(open_encoder(parts, reading, family, weights, dtype) for reading in readings)


def open_encoder(
    parts: Parts, reading: TextReading, family: Family, weights: Weights, dtype: torch.dtype
) -> TextEncoder:
    """A text encoder, from wherever it is."""
    source = parts.encoders[reading.component]
    if source.file is None:
        network = LOADERS[reading.network](weights, source.prefix, dtype, reading)
    elif source.file.is_dir():
        network = pretrained(library("transformers"), reading.class_name, source.file, dtype)
    else:
        with FileWeights(source.file) as own:
            network = LOADERS[reading.network](own, source.prefix, dtype, reading)
    tokens = reading.tokens
    if tokens is None:
        return TextEncoder(reading, network)
    return TextEncoder(reading, network, open_tokenizer(parts.tokenizers[reading.component], tokens))


def has_vae(parts: Parts, family: Family, weights: Weights) -> bool:
    return parts.vae is not None or any(family.component("vae").owns(key) for key in weights.tensors)


def open_vae(parts: Parts, weights: Weights, pictures: Pictures, dtype: torch.dtype) -> Any:
    """The VAE of the checkpoint, or of a folder that the person names."""
    if parts.vae is None:
        return load_vae(weights, pictures, dtype)
    if parts.vae.is_dir():
        two = read_config(parts.vae / "config.json").get("_class_name") == "AutoencoderKLFlux2"
        class_name = "AutoencoderKLFlux2" if two else "AutoencoderKL"
        return pretrained(library("diffusers"), class_name, parts.vae, dtype)
    with FileWeights(parts.vae) as own:
        return load_vae(own, pictures, dtype)


def pretrained(package: Any, class_name: str, folder: Path, dtype: torch.dtype) -> Any:
    """A network from the folder that diffusers or transformers wrote it into."""
    found = getattr(package, class_name).from_pretrained(
        str(folder), local_files_only=True, torch_dtype=dtype, variant=variant_in(folder)
    )
    return found.eval().requires_grad_(False)


def prediction_of(detected: Detected, weights: Weights, wanted: Prediction | None) -> Prediction:
    """What the person says, else the file's mark, else what the weights tell."""
    assert detected.family.pictures is not None
    if detected.family.pictures.flow:
        return flow_only(detected.family, weights.name, wanted)
    if wanted is not None:
        return wanted
    if detected.prediction in ("edm", "edm-v"):
        raise InputError(
            f"models of the EDM kind cannot be rendered ({detected.prediction_source})", where=weights.name
        )
    if detected.prediction is not None:
        return "v_prediction" if detected.prediction == "v" else "epsilon"
    assert detected.family.pictures.telltale is not None
    key, limit = detected.family.pictures.telltale
    return "v_prediction" if weights.read(key).float().std(correction=0).item() > limit else "epsilon"


def flow_only(family: Family, where: str, wanted: Prediction | None) -> Prediction:
    """InputError where the person says that a flow model predicts something else."""
    if wanted is not None:
        raise InputError(
            f"{family.label} models predict flow, nothing else",
            where=where,
            fix=f"leave {option('prediction')} out",
        )
    return "flow"


def open_folder(
    folder: Path,
    dtype: torch.dtype,
    *,
    prediction: Prediction | None = None,
    files: PartFiles | None = None,
) -> Model:
    """The same from a diffusers folder (model_index.json, unet/ or transformer/, text_encoder/, vae/ …)."""
    family = family_of_folder(folder)
    pictures = how_drawn(family, str(folder))
    files = files or PartFiles()
    within = replace(files, encoders=(folder, *files.encoders))
    parts = find_parts(family, pictures, {}, within, str(folder))
    nothing = MemoryWeights(str(folder), {}, {})
    encoders = open_encoders(parts, family, nothing, dtype)
    kind = KINDS[pictures.network]
    denoiser = kind.open_folder(str(folder / family.component("unet").folder), dtype)
    vae = open_vae(parts, nothing, pictures, dtype) if parts.vae is not None else None
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    noted: Prediction = "v_prediction" if scheduler.get("prediction_type") == "v_prediction" else "epsilon"
    return Model(
        name=str(folder),
        family=family,
        denoiser=denoiser,
        kind=kind,
        vae=vae,
        encoders=encoders,
        prediction=flow_only(family, str(folder), prediction) if pictures.flow else prediction or noted,
        usual=pictures.variants[variant_of_folder(folder, family)],
        zero_terminal_snr=bool(scheduler.get("rescale_betas_zero_snr")),
        dtype=dtype,
        modules=name_modules(family, denoiser, encoders),
    )
