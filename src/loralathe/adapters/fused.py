"""Layers that LoRAs of diffusers have apart and a model in one tensor, q, k, v (and the MLP), put together.

The factors of the parts stand side by side, each over rows of its own:

    Δ = [Δ₁; Δ₂; …]      up = blockdiag(up₁, up₂, …)      down = [down₁; down₂; …]

so the rank is the sum of the ranks, and nothing is rounded. Parts that a file lacks are rows of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from loralathe.adapters.modules import AdapterModule
from loralathe.errors import InputError
from loralathe.tensorfiles import TensorFile

if TYPE_CHECKING:
    from loralathe.lowrank import Factors


def fused_module(
    file: TensorFile, name: str, parts: Mapping[int, AdapterModule], ratios: tuple[int, ...]
) -> AdapterModule:
    """One module of the parts by their slot. Raises InputError where their shapes do not go together.

    ratios: rows of each slot in inputs of the layer, for slots that the file lacks and for square ones.
    """
    ordered = [parts[slot] for slot in sorted(parts)]
    first = ordered[0]
    for part in ordered:
        if len(part.shape) != 2 or part.magnitudes is not None:
            raise InputError(
                "q, k and v are one layer in the model; of those apart only a LoRA's factors are read",
                where=f"{file.path}: '{part.raw_name}'",
                fix="merge the adapter with the program that made it, or save it without biases, magnitudes",
            )
    width = first.shape[1]
    for slot, part in sorted(parts.items()):
        square = ratios[slot] == 1
        if part.shape[1:] != (width,) or (square and part.shape[0] != width):
            wanted = f"[{width}, {width}]" if square else f"[…, {width}]"
            raise InputError(
                f"the parts of one layer do not go together: {list(part.shape)}, not {wanted}",
                where=f"{file.path}: '{part.raw_name}' beside '{first.raw_name}'",
                fix="the file is damaged or made for another model; save it again with its trainer",
            )
    heights = [parts[slot].shape[0] if slot in parts else ratio * width for slot, ratio in enumerate(ratios)]
    tensors = {f"{slot} {key}": info for slot, part in parts.items() for key, info in part.tensors.items()}
    return AdapterModule(
        name,
        first.raw_name,
        first.kind,
        first.block,
        tensors,
        (sum(heights), width),
        sum(part.rank for part in ordered),
        None,
        1.0,
        pieces=tuple((sum(heights[:slot]), parts[slot]) for slot in sorted(parts)),
    )


def side_by_side(parts: Sequence[tuple[int, Factors]], shape: tuple[int, ...]) -> Factors:
    """Factors of a matrix that holds each part's product from its first row on, and zeros elsewhere."""
    import torch

    from loralathe.lowrank import Factors

    down = torch.cat([factors.down for _, factors in parts])
    up = down.new_zeros(shape[0], down.shape[0])
    column = 0
    for row, factors in parts:
        height, rank = factors.up.shape
        up[row : row + height, column : column + rank] = factors.up
        column += rank
    return Factors(up, down, shape)


def halves_swapped(factors: Factors) -> Factors:
    """The same with the upper and the lower half of the rows in each other's place."""
    half = factors.up.shape[0] // 2
    return replace(factors, up=factors.up.roll(half, 0))
