"""What a kind of network is to rendering: how it is built from a file, and what one call of it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from loralathe.errors import InputError, few
from loralathe.families import Component, Family, Piece
from loralathe.rendering.loading.networks import filled
from loralathe.rendering.loading.shapes import Config, Layers
from loralathe.rendering.loading.weights import Weights
from loralathe.rendering.machine import library
from loralathe.tensorfiles import folder_parts

Network = Any
"""A network of diffusers."""


@dataclass(frozen=True, eq=False)
class Rows:
    """One call of a network, a row for each picture and text.

    latents:  (rows, channels, h, w), scaled as the network wants them
    time:     the training step, or of a flow model the noise level 0 … 1
    context:  (rows, tokens, width);  pooled: (rows, width), or None
    guidance: (rows,), of networks that take one as a number
    size:     (width, height) of the picture
    """

    latents: torch.Tensor
    time: torch.Tensor
    context: torch.Tensor
    pooled: torch.Tensor | None
    guidance: torch.Tensor | None
    size: tuple[int, int]


class Denoiser(Protocol):
    """A kind of network."""

    def build(self, weights: Weights, family: Family, dtype: torch.dtype) -> Network:
        """From a checkpoint in the original layout. InputError for missing and misshapen tensors."""
        ...

    def open_folder(self, folder: str, dtype: torch.dtype) -> Network:
        """From a folder that diffusers' save_pretrained wrote."""
        ...

    def latent_shape(self, network: Network, width: int, height: int) -> tuple[int, int, int]:
        """(channels, h, w) of the latents of a picture."""
        ...

    def predict(self, network: Network, rows: Rows) -> torch.Tensor:
        """(rows, channels, h, w): what it was trained to predict."""
        ...


class Transformer:
    """What transformers of diffusers have in common as denoisers; `config` and `predict` are each one's own.

    class_name: in diffusers;  side: pixels of a latent, each way
    channels:   of the network for each of a latent
    """

    class_name: ClassVar[str]
    side: ClassVar[int] = 8
    channels: ClassVar[int] = 1

    def config(self, layers: Layers, family: Family) -> Config:
        """Arguments of the class, read off the shapes of a checkpoint's tensors."""
        raise NotImplementedError

    def build(self, weights: Weights, family: Family, dtype: torch.dtype) -> Network:
        config = self.config(Layers.of(weights.tensors, family), family)
        make = getattr(library("diffusers"), self.class_name)
        return by_names(weights, family, lambda: make(**config), dtype)

    def open_folder(self, folder: str, dtype: torch.dtype) -> Network:
        return from_pretrained(self.class_name, folder, dtype)

    def latent_shape(self, network: Network, width: int, height: int) -> tuple[int, int, int]:
        channels = int(network.config["in_channels"]) // self.channels
        return channels, height // self.side, width // self.side


def from_pretrained(class_name: str, folder: str, dtype: torch.dtype) -> Network:
    """A network of diffusers from its folder."""
    kind = getattr(library("diffusers"), class_name)
    found = kind.from_pretrained(
        folder, local_files_only=True, torch_dtype=dtype, variant=variant_in(Path(folder))
    )
    return found.eval().requires_grad_(False)


def variant_in(folder: Path) -> str | None:
    """Which variant of a network's files is there, 'fp16', where the plain ones are not."""
    return next((part.variant for part in folder_parts(folder) if part.variant), None)


def by_names(
    weights: Weights, family: Family, make: Callable[[], Network], dtype: torch.dtype, name: str = "unet"
) -> Network:
    """The network that `make` builds, its tensors found by the family's names for them."""
    component = family.component(name)
    present = {component.modern_key(key): key for key in weights.tensors if component.owns(key)}
    with library("accelerate").init_empty_weights():
        names = list(make().state_dict())
    wanted: dict[str, list[tuple[str, Piece]]] = {}
    for own in names:
        piece = component.piece_of_diffusers(own)
        if piece is None:
            raise AssertionError(f"{family.id} has no name for {own}")
        wanted.setdefault(piece.key, []).append((own, piece))
    known = {modern: key for modern, key in present.items() if family.rule_for_key(key) is None}
    _require_all(set(wanted), known, component, weights.name)
    tensors = {}
    for key, pieces in wanted.items():
        whole = weights.read(present[key]).to(dtype)
        for own, piece in pieces:
            tensors[own] = piece_of(whole, piece)
    return filled(make, tensors, component.label, weights.name)


def _require_all(wanted: set[str], present: dict[str, str], component: Component, where: str) -> None:
    missing = [key for key in wanted if key not in present]
    if missing:
        raise InputError(
            f"the {component.label} cannot be loaded: {few(sorted(missing), 3)} missing",
            where=where,
            fix="the checkpoint is incomplete; get the file again",
        )
    unknown = [key for modern, key in present.items() if modern not in wanted]
    if unknown:
        raise InputError(
            f"the {component.label} has layers that are not known: {few(sorted(unknown), 3)}",
            where=where,
            fix="it is a changed model, which cannot be rendered here",
        )


def piece_of(whole: torch.Tensor, piece: Piece) -> torch.Tensor:
    """The tensor of the diffusers layout that is this piece of one in the original layout."""
    if piece.table:
        return whole.reshape(piece.table, -1)
    rows = piece.rows(len(whole)) if whole.dim() else range(0)
    found = whole if len(rows) == len(whole) else whole[rows.start : rows.stop]
    if piece.transform == "halves_swapped":
        return torch.cat([found[len(found) // 2 :], found[: len(found) // 2]])
    if piece.transform == "transpose":
        return found.t().contiguous()
    return found[..., 0, 0] if piece.transform == "conv1x1_to_linear" and found.dim() == 4 else found


def patches(latents: torch.Tensor) -> torch.Tensor:
    """(rows, c, h, w) → (rows, h/2 · w/2, 4c): each 2×2 of the latents one token."""
    rows, channels, height, width = latents.shape
    cut = latents.reshape(rows, channels, height // 2, 2, width // 2, 2)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(rows, (height // 2) * (width // 2), channels * 4)


def from_patches(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The reverse, for latents of this height and width."""
    rows, _, depth = tokens.shape
    cut = tokens.reshape(rows, height // 2, width // 2, depth // 4, 2, 2)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(rows, depth // 4, height, width)
