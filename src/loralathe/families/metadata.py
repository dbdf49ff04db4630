"""The metadata that readers of LoRA files expect, without a date, a host or a path.

kohya's `ss_*` keys and the `modelspec.*` block (sai_model_spec 1.0.1), all values strings. A1111 and Forge
read `ss_base_model_version`, `ss_v2` and `modelspec.architecture` to tell families apart; loaders need none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

DYNAMIC = "Dynamic"
"""kohya's word for a rank that differs between modules."""


@dataclass(frozen=True, slots=True)
class ModelName:
    """What metadata calls a model: kohya's base model version, modelspec's architecture, the resolution."""

    version: str
    spec: str
    resolution: str


@dataclass(frozen=True, slots=True)
class MetadataWords:
    """What the metadata of a family's LoRAs says.

    epsilon, v: the model, by what it predicts;  implementation: whose code it is, for modelspec
    module: the trainer's;  v2: value of `ss_v2`
    tells_prediction: whether modelspec names it (a flow has no name there)
    others: what else trainers call the model, in `ss_base_model_version` or the architecture
    """

    epsilon: ModelName
    v: ModelName
    implementation: str
    module: str = "networks.lora"
    v2: bool = False
    tells_prediction: bool = True
    others: tuple[str, ...] = ()

    def are_in(self, metadata: Mapping[str, str]) -> bool:
        """Whether a trainer noted that a LoRA is for this family."""
        spec = metadata.get("modelspec.architecture", "").partition("/")[0]
        told = {spec.casefold(), metadata.get("ss_base_model_version", "").casefold()}
        models = (self.epsilon, self.v)
        own = (*self.others, *(name for model in models for name in (model.version, model.spec)))
        return not told.isdisjoint(name.casefold() for name in own)


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


def adapter_metadata(words: MetadataWords, notes: AdapterNotes) -> dict[str, str]:
    """Metadata of a kohya LoRA, sorted by key."""
    predicts_v = notes.prediction in ("v", "edm-v")
    model = words.v if predicts_v else words.epsilon
    entries = {
        "ss_network_module": words.module,
        "ss_network_dim": DYNAMIC if notes.rank is None else str(notes.rank),
        "ss_network_alpha": str(float(notes.alpha)),
        "ss_network_args": json.dumps(_network_args(notes)),
        "ss_base_model_version": model.version,
        "ss_v2": str(words.v2),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{model.spec}/lora",
        "modelspec.implementation": words.implementation,
        "modelspec.resolution": model.resolution,
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
