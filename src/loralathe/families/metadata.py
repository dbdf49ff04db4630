"""The metadata that readers of LoRA files expect, without a date, a host or a path.

kohya's `ss_*` keys and the `modelspec.*` block (sai_model_spec 1.0.1), all values strings. A1111 and Forge
read `ss_base_model_version`, `ss_v2` and `modelspec.family` to tell families apart; loaders need none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from loralathe.errors import InputError
from loralathe.families.family import Family

DYNAMIC = "Dynamic"
"""kohya's word for a rank that differs between modules."""
_GENERATIVE_MODELS = "https://github.com/Stability-AI/generative-models"


@dataclass(frozen=True, slots=True)
class FamilyNotes:
    """What metadata calls a family, by what it predicts: (base model version, modelspec name, resolution).

    module: the trainer's;  tells_prediction: whether modelspec names it (a flow has no name there)
    """

    epsilon: tuple[str, str, str]
    v: tuple[str, str, str]
    implementation: str
    module: str = "networks.lora"
    tells_prediction: bool = True


FAMILY_NOTES: Mapping[str, FamilyNotes] = {
    "sd1": FamilyNotes(
        ("sd_v1", "stable-diffusion-v1", "512x512"),
        ("sd_v1_v", "stable-diffusion-v1", "512x512"),
        "diffusers",
    ),
    "sd2": FamilyNotes(
        ("sd_v2", "stable-diffusion-v2-512", "512x512"),
        ("sd_v2_v", "stable-diffusion-v2-768-v", "768x768"),
        "diffusers",
    ),
    "sdxl": FamilyNotes(
        ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base", "1024x1024"),
        ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base", "1024x1024"),
        _GENERATIVE_MODELS,
    ),
    "flux": FamilyNotes(
        ("flux1", "flux-1-dev", "1024x1024"),  # sd-scripts calls every Flux so, schnell too
        ("flux1", "flux-1-dev", "1024x1024"),
        "https://github.com/black-forest-labs/flux",
        "networks.lora_flux",
        tells_prediction=False,
    ),
}


@dataclass(frozen=True, slots=True)
class AdapterNotes:
    """What a written adapter says about itself.

    rank:       nominal rank of linear layers and 1×1 convolutions; None when it differs between modules
    alpha:      the one alpha of the file
    conv_rank:  rank of k×k convolutions; None when there are none
    prediction: 'epsilon' or 'v' (and 'edm-v', written as v)
    title:      name for people; the file's name without its ending
    """

    rank: int | None
    alpha: float
    conv_rank: int | None = None
    prediction: str = "epsilon"
    title: str | None = None


def adapter_metadata(family: Family, notes: AdapterNotes) -> dict[str, str]:
    """Metadata of a kohya LoRA, sorted by key. Raises InputError for a words without notes."""
    words = FAMILY_NOTES.get(family.id)
    if words is None:
        raise InputError(f"LoRAs of {family.label} are not written so far")
    predicts_v = notes.prediction in ("v", "edm-v")
    version, spec_name, resolution = words.v if predicts_v else words.epsilon
    entries = {
        "ss_network_module": words.module,
        "ss_network_dim": DYNAMIC if notes.rank is None else str(notes.rank),
        "ss_network_alpha": str(float(notes.alpha)),
        "ss_network_args": json.dumps(_network_args(notes)),
        "ss_base_model_version": version,
        "ss_v2": str(family.id == "sd2"),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{spec_name}/lora",
        "modelspec.implementation": words.implementation,
        "modelspec.resolution": resolution,
    }
    if words.tells_prediction:
        entries["modelspec.prediction_type"] = "v" if predicts_v else "epsilon"
    if notes.title:
        entries["modelspec.title"] = notes.title
    return dict(sorted(entries.items()))


def _network_args(notes: AdapterNotes) -> dict[str, str]:
    """kohya's `--network_args`, values as text there too."""
    if notes.conv_rank is None:
        return {}
    return {"conv_dim": str(notes.conv_rank), "conv_alpha": str(float(notes.alpha))}
