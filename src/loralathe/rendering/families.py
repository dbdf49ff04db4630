"""Which families pictures can be made with, and the family of a file or folder, from headers alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from loralathe.errors import InputError, option
from loralathe.families import (
    FAMILIES,
    Family,
    Pictures,
    Usual,
    detect_checkpoint,
    original_header,
    supported_families,
)
from loralathe.tensorfiles import folder_parts, read_config, read_header

_RESOLUTION = re.compile(r"\s*(\d{1,5})\s*(?:x\s*(\d{1,5})\s*)?", re.ASCII | re.IGNORECASE)
LARGEST = 4096
"""Pixels of a side: more is a mistake in the metadata."""


def is_pipeline(path: Path) -> bool:
    """Whether a path is a folder, and not that of a U-Net or transformer alone."""
    if not path.is_dir():
        return False
    try:
        return not any(part.name == "" for part in folder_parts(path))
    except InputError:  # it lacks shards, as opening it tells
        return False


def family_of(checkpoint: str | Path) -> Family:
    """The family of a checkpoint file or a diffusers folder; InputError if none renders it."""
    if is_pipeline(Path(checkpoint)):
        return family_of_folder(Path(checkpoint))
    family = detect_checkpoint(original_header(checkpoint), str(checkpoint)).family
    how_drawn(family, str(checkpoint))
    return family


def how_drawn(family: Family, where: str) -> Pictures:
    """How pictures of a family are made; InputError for one whose files are worked on but not rendered."""
    if family.pictures is None:
        raise _cannot_render(family.label, where, family.undrawn)
    return family.pictures


def usual_for(checkpoint: str | Path) -> Usual:
    """What pictures of a checkpoint or a diffusers folder are made with where the person says nothing."""
    if is_pipeline(Path(checkpoint)):
        family = family_of_folder(Path(checkpoint))
        return how_drawn(family, str(checkpoint)).variants[variant_of_folder(Path(checkpoint), family)]
    detected = detect_checkpoint(original_header(checkpoint), str(checkpoint))
    variants = how_drawn(detected.family, str(checkpoint)).variants
    return variants.get(detected.variant) or next(iter(variants.values()))


def metadata_of(checkpoint: str | Path) -> Mapping[str, str]:
    """What a checkpoint file says of itself; a diffusers folder says nothing."""
    return {} if is_pipeline(Path(checkpoint)) else read_header(checkpoint).metadata


def said_size(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """(width, height) that a model says it draws, in `modelspec.resolution`; None where that is no size."""
    match = _RESOLUTION.fullmatch(metadata.get("modelspec.resolution", ""))
    if match is None:
        return None
    width, height = int(match[1]), int(match[2] or match[1])
    usable = all(64 <= side <= LARGEST and side % 8 == 0 for side in (width, height))
    return (width, height) if usable else None


def _cannot_render(label: str, where: str, why: str = "") -> InputError:
    rendered = supported_families([family for family in FAMILIES if family.pictures])
    return InputError(
        f"{label} models cannot be rendered here: {why}"
        if why
        else f"{label} models cannot be rendered here; {rendered} can",
        where=where,
        fix=f"merge and look into the weights here (blocks with {option('weights', True)} renders nothing), "
        "and make the pictures with the program that you use the model in",
    )


def family_of_folder(folder: Path) -> Family:
    """The family that a diffusers folder says it is. InputError for a folder that is none."""
    configs = {name: read_config(folder / name / "config.json") for name in ("transformer", "unet")}
    if not any(configs.values()):
        raise InputError(
            "the folder is not a diffusers model: unet/config.json is missing",
            where=str(folder),
            fix="give a .safetensors checkpoint or a folder that diffusers' save_pretrained wrote",
        )
    for family in FAMILIES:
        config = configs.get(family.component("unet").folder, {})
        if (
            family.pictures
            and config
            and all((config.get(key) or None) == said for key, said in family.pictures.folder.items())
        ):
            return family
    if configs["transformer"]:
        kind = str(configs["transformer"].get("_class_name", "")).removesuffix("Transformer2DModel")
        raise _cannot_render(kind or "transformer", str(folder))
    raise InputError("only text-to-image models of known families can be rendered", where=str(folder))


def variant_of_folder(folder: Path, family: Family) -> str:
    """'base', 'dev', …: by what the configuration says of guidance, where a family has both kinds."""
    assert family.pictures is not None
    config = read_config(folder / family.component("unet").folder / "config.json")
    guided = bool(config.get("guidance_embeds"))
    variants = family.pictures.variants
    fitting = (name for name, usual in variants.items() if (usual.guidance is not None) == guided)
    return next(fitting, next(iter(variants)))
