"""A checkpoint in the original layout as a folder of diffusers has it: what lies where, made of what.

The reverse of `layouts.py`. Nothing is computed: every tensor is runs of the bytes of others. Language models
have no place: they are taken from their own release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from loralathe.families.components import Component, Piece
from loralathe.families.encoders import ENCODER_LAYERS
from loralathe.families.family import Family
from loralathe.families.language_models import BLOCK as LANGUAGE_MODEL
from loralathe.families.layers import Layer, fill
from loralathe.tensorfiles import Arrangement, Run, TensorSpec


@dataclass(frozen=True)
class Network:
    """A network of the folder. stem: of its files;  tensors: name → how it is made of the original ones."""

    folder: str
    stem: str
    tensors: Mapping[str, Arrangement] = field(hash=False)


@dataclass(frozen=True)
class FolderLayout:
    """The networks, the U-Net or transformer first; left_out: keys that have no place in any."""

    networks: tuple[Network, ...]
    left_out: tuple[str, ...]


def folder_layout(family: Family, specs: Mapping[str, TensorSpec]) -> FolderLayout:
    """Where the tensors of a checkpoint go; specs: as they are to be written, under their keys."""
    networks: dict[str, dict[str, Arrangement]] = {}
    left_out: list[str] = []
    unused = set(_unused(family, specs))
    for key, spec in specs.items():
        places = [] if key in unused else list(_places(family, key))
        for folder, name, piece in places:
            networks.setdefault(folder, {})[name] = _arranged(spec, piece)
        if not places:
            left_out.append(key)
    denoiser = family.component("unet").folder
    ordered = sorted(networks, key=lambda folder: (folder != denoiser, folder))
    found = (Network(folder, _stem(family, folder), networks[folder]) for folder in ordered)
    return FolderLayout(tuple(found), tuple(left_out))


def _stem(family: Family, folder: str) -> str:
    """transformers calls its files otherwise than diffusers."""
    encoders = {component.folder for component in family.components if component.id.startswith("te")}
    return "model" if folder in encoders else "diffusion_pytorch_model"


def _unused(family: Family, keys: Mapping[str, TensorSpec]) -> Iterator[str]:
    """The deepest layer of encoders that are read one before: diffusers' have one less."""
    for component in family.components:
        if not component.last_layer_unused:
            continue
        numbers = {key: int(number) for key in keys if (number := _number(component, key)) is not None}
        deepest = max(numbers.values(), default=0)
        yield from (key for key, number in numbers.items() if number == deepest)


def _number(component: Component, key: str) -> str | None:
    layers, number = component.tensor(key) or ((), None)
    return number if layers and layers[0][0].name.startswith(ENCODER_LAYERS) else None


def _places(family: Family, key: str) -> Iterator[tuple[str, str, Piece]]:
    """Folder and name of everything that a tensor becomes, each with what it is of the tensor."""
    name = family.component_of_key(key)
    component = family.component(name) if name else None
    if component is None or component.block == LANGUAGE_MODEL:
        return
    layers, number = component.tensor(key) or ((), None)
    for entry, role in layers:
        yield from _of_layer(component, entry, number, role)
    path = component.path(key)
    if not layers and path and component.id == "vae" and family.is_frozen(key):
        yield component.folder, path, Piece(key, None, "none")  # statistics that stand among its layers


def _of_layer(
    component: Component, entry: Layer, number: str | None, role: Literal["weight", "bias"] | str
) -> Iterator[tuple[str, str, Piece]]:
    end = "" if entry.bare else f".{role}"
    key = entry.weight if role == "weight" else entry.bias or ""
    if entry.diffusers is not None:
        kept = role == "weight" or entry.transform == "halves_swapped"
        transform = entry.transform if kept else "none"
        piece = Piece(key, entry.part, transform, table=entry.table)
        yield component.folder, fill(entry.diffusers, number) + end, piece
    elif entry.splits:
        split = entry.splits[0]
        for slot, path in enumerate(split.paths):
            yield component.folder, fill(path, number) + end, Piece(key, None, "none", slot, split.ratios)
    elif entry.aliases:  # in a folder of its own
        folder, _, path = fill(entry.aliases[0], number).partition(".")
        yield folder, path + end, Piece(key, None, "none")


def _arranged(spec: TensorSpec, piece: Piece) -> Arrangement:
    """The tensor that is this piece of one that is written with that dtype and shape."""
    shape, size = spec.shape, spec.nbytes
    if piece.transform == "halves_swapped":
        return Arrangement(shape, (Run(spec.name, size // 2, size), Run(spec.name, 0, size // 2)))
    if piece.table:
        return Arrangement((piece.table, prod(shape) // piece.table), (Run(spec.name, 0, size),))
    if piece.transform == "transpose" and len(shape) == 2:
        return Arrangement(shape[::-1], (Run(spec.name, 0, size),), transposed=True)
    if piece.transform == "conv1x1_to_linear" and len(shape) == 4:
        return Arrangement(shape[:2], (Run(spec.name, 0, size),))
    rows = piece.rows(shape[0]) if shape else range(1)
    row = size // shape[0] if shape and shape[0] else size
    whole = (len(rows), *shape[1:]) if shape else shape
    return Arrangement(whole, (Run(spec.name, rows.start * row, rows.stop * row),))
