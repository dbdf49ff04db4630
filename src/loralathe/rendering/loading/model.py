"""A model, open for rendering: its networks, and the torch layers behind every canonical name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from loralathe.families import BIAS, Family, LayerAddress, Pictures, TextReading, Usual
from loralathe.rendering.loading.denoisers import Denoiser
from loralathe.rendering.loading.tokenizers import Tokenizer
from loralathe.rendering.samplers import Prediction


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A text encoder, a network of transformers, and how its family reads it.

    tokenizer: of a language model; CLIP's vocabulary is a library's.
    """

    reading: TextReading
    network: Any
    tokenizer: Tokenizer | None = None

    @property
    def inner(self) -> Any:
        """The transformer itself, wherever this transformers version keeps it."""
        return getattr(self.network, "text_model", self.network)


@dataclass(frozen=True, eq=False)
class Place:
    """The torch layers that a module is: one, or several that each are a slice of its rows.

    slices: (layer, the module's rows that its rows are, in their order); None: all of them, as they are
    """

    slices: tuple[tuple[torch.nn.Module, torch.Tensor | None], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the module's weight."""
        weights: list[Any] = [layer.weight for layer, _ in self.slices]
        shapes = [tuple(weight.shape) for weight in weights]
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    @property
    def has_bias(self) -> bool:
        return all(getattr(layer, "bias", None) is not None for layer, _ in self.slices)

    def tensor(self, name: str) -> torch.Tensor:
        """The weight, or the bias where the name ends so: of the whole module, in float32 on the CPU."""
        found = torch.empty(self.shape_of(name))
        for layer, rows in self.slices:
            own: Any = layer.bias if name.endswith(BIAS) else layer.weight
            found[slice(None) if rows is None else rows] = own.detach().to("cpu", torch.float32)
        return found

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Of the weight, or of the bias where the name ends so."""
        return self.shape[:1] if name.endswith(BIAS) else self.shape


@dataclass(frozen=True, eq=False)
class Model:
    """An open model. `modules` maps canonical names to the torch layers an adapter can act on.

    denoiser: a network of diffusers, run by `kind`;  vae: an AutoencoderKL or None
    usual:    what pictures of such a model are made with
    """

    name: str
    family: Family
    denoiser: Any
    kind: Denoiser
    vae: Any
    encoders: tuple[TextEncoder, ...]
    prediction: Prediction
    usual: Usual
    zero_terminal_snr: bool
    dtype: torch.dtype
    modules: Mapping[str, Place]

    @property
    def absent(self) -> tuple[TextReading, ...]:
        """Text encoders that it does without."""
        there = {encoder.reading.component for encoder in self.encoders}
        return tuple(one for one in self.pictures.readings if one.component not in there)

    @property
    def pictures(self) -> Pictures:
        """The facts of its family."""
        assert self.family.pictures is not None
        return self.family.pictures


def name_modules(
    family: Family, denoiser: torch.nn.Module, encoders: tuple[TextEncoder, ...]
) -> dict[str, Place]:
    """Canonical name → torch layers, for every layer of the family that these networks have."""
    found: dict[str, dict[int, tuple[torch.nn.Module, LayerAddress]]] = {}
    networks = [("unet", denoiser, ""), *((e.reading.component, e.network, _wrapper(e)) for e in encoders)]
    for component, network, wrapper in networks:
        named = family.component(component)
        for path, module in network.named_modules():
            outside = path == "text_projection"
            address = named.address_of_path(path if outside else wrapper + path)
            if address is not None and getattr(module, "weight", None) is not None:
                found.setdefault(address.module, {})[address.slot or 0] = (module, address)
    return {name: _place(parts) for name, parts in found.items()}


def _place(parts: Mapping[int, tuple[Any, LayerAddress]]) -> Place:
    """parts: of each slot that there is, the layer and its address."""
    slices: list[tuple[torch.nn.Module, torch.Tensor | None]] = []
    start = 0
    for _, (layer, address) in sorted(parts.items()):
        height = layer.weight.shape[0]
        rows = torch.arange(start, start + height)
        start += height
        if address.swapped:
            rows = torch.cat([rows[height // 2 :], rows[: height // 2]])
        slices.append((layer, None if address.slot is None and not address.swapped else rows))
    return Place(tuple(slices))


def _wrapper(encoder: TextEncoder) -> str:
    if encoder.reading.tokens is not None:
        return ""
    return "" if hasattr(encoder.network, "text_model") else "text_model."
