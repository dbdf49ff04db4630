"""BOFT: a butterfly of small rotations, in which every output of a layer can meet every other (Liu 2024).

    oft_blocks (m, n, b, b)     m stages of n blocks; m is at most log₂ n + 1     (LyCORIS `boft`)
    rescale    (out, 1[, …])    a factor for each output, after the last stage
    alpha                       the constraint divided by the number of outputs, 0 for none

Stage i takes the rows in groups of 2ⁱ·b, puts row j beside row j + 2ⁱ·b/2 of the same group, turns every b
neighbours by a block R, as OFT makes it, and puts the rows back. R is not transposed, unlike OFT's. The norm
that the constraint limits is that of all stages together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.adapters.kind import ANY, DeltaShape, Kind, MakeChange, ModuleData, ModuleHeader, Weight
from loralathe.adapters.kinds.oft import BLOCKS, cayley, check_rescale, constraint, oft_or_boft
from loralathe.errors import InputError

if TYPE_CHECKING:
    import torch


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """The number of outputs; InputError for blocks that are not square and stages that do not fit."""
    header.check_missing([] if BLOCKS in header.tensors else [BLOCKS])
    info = header.tensors[BLOCKS]
    square = len(info.shape) == 4 and info.shape[2] == info.shape[3] and info.shape[2] % 2 == 0
    header.check_axes(info, square, "(stages, blocks, size, size) with an even size")
    stages, blocks, size, _ = info.shape
    if blocks % 2 ** (stages - 1):
        raise InputError(
            f"{blocks} blocks cannot be paired in {stages} stages",
            where=header.place(info),
            fix="the file is damaged; save it again with the program that made it",
        )
    check_rescale(header, blocks * size)
    return DeltaShape((blocks * size, ANY), blocks * size, None)


def change(module: ModuleData, weight: Weight) -> MakeChange:
    """Of the weight at strength 1. Rows meet across all of the layer, which is held once."""
    import torch

    blocks = module.read(BLOCKS)
    turned = torch.cat([band.clone() for band in weight.bands()])
    for stage, turns in enumerate(cayley(blocks, constraint(module, len(turned)))):
        turned = _stage(turned, turns, 2**stage * turns.shape[-1] // 2)
    if "rescale" in module.tensors:
        turned *= module.read("rescale").reshape(-1, 1)
    return lambda values, rows: turned[rows.start : rows.stop] - values


def _stage(rows: torch.Tensor, turns: torch.Tensor, step: int) -> torch.Tensor:
    """rows (out, columns), turns (n, b, b): rows that lie `step` apart meet."""
    count, size, _ = turns.shape
    paired = rows.reshape(-1, 2, step, rows.shape[1]).transpose(1, 2).reshape(count, size, -1)
    met = (turns @ paired).reshape(-1, step, 2, rows.shape[1])
    return met.transpose(1, 2).reshape(rows.shape)


PARTS = {name: name for name in (BLOCKS, "rescale", "alpha")}
KINDS = (Kind("boft", "BOFT", PARTS, delta_shape, change=change, variant=oft_or_boft),)
