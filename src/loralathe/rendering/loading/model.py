"""A model, open for rendering: its networks, and the torch module behind every canonical name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from loralathe.families import Family, Pictures, TextReading
from loralathe.rendering.samplers import Prediction


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A text encoder, a network of transformers, and how its family reads it."""

    reading: TextReading
    network: Any

    @property
    def inner(self) -> Any:
        """The transformer itself, wherever this transformers version keeps it."""
        return getattr(self.network, "text_model", self.network)


@dataclass(frozen=True, eq=False)
class Model:
    """An open model. `modules` maps canonical names to the torch modules an adapter can act on.

    denoiser is a diffusers UNet2DConditionModel, vae an AutoencoderKL or None.
    """

    name: str
    family: Family
    denoiser: Any
    vae: Any
    encoders: tuple[TextEncoder, ...]
    prediction: Prediction
    zero_terminal_snr: bool
    dtype: torch.dtype
    modules: Mapping[str, torch.nn.Module]

    @property
    def pictures(self) -> Pictures:
        """The facts of its family."""
        assert self.family.pictures is not None
        return self.family.pictures


def name_modules(
    family: Family, denoiser: torch.nn.Module, encoders: tuple[TextEncoder, ...]
) -> dict[str, torch.nn.Module]:
    """Canonical name → torch module, for every layer of the family that these networks have."""
    found: dict[str, torch.nn.Module] = {}
    networks = [("unet", denoiser, ""), *((e.reading.component, e.network, _wrapper(e)) for e in encoders)]
    for component, network, wrapper in networks:
        for path, module in network.named_modules():
            outside = path == "text_projection"
            name = family.module_of_diffusers(component, path if outside else wrapper + path)
            if name is not None:
                found[name] = module
    return found


def _wrapper(encoder: TextEncoder) -> str:
    return "" if hasattr(encoder.network, "text_model") else "text_model."
