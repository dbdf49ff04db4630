"""OFT and Diag-OFT: groups of outputs are turned by small orthogonal matrices (Qiu et al. 2023).

    oft_blocks (n, b, b)        LyCORIS `diag-oft`, sd-scripts `networks.oft`
    oft_blocks.0 … (n, b, b)    sd-scripts `networks.oft_flux`: q, k, v (and the MLP) of one layer, each alone
    oft_diag   (n, b, b)        LyCORIS of autumn 2023: R itself, in its first month R − I
    rescale    (out, 1[, …])    LyCORIS: a factor for each output, after the turn
    alpha                       the constraint divided by the number of outputs, 0 for none

Block k of a weight, b rows of it, becomes Rₖᵀ·Wₖ with

    R = (I + Q)(I − Q)⁻¹,  Q = B − Bᵀ,  and Q·c/‖Q‖ where ‖Q‖ > c = alpha·out > 0

The norm is that of all blocks together. A rotation keeps all lengths and angles among the outputs of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from loralathe.adapters.kind import (
    ANY,
    DeltaShape,
    Kind,
    MakeChange,
    ModuleData,
    ModuleHeader,
    Shapes,
    Tensors,
    Weight,
)

if TYPE_CHECKING:
    import torch

BLOCKS, DIAGONAL = "oft_blocks", "oft_diag"
SPLIT = tuple(f"{BLOCKS}.{index}" for index in range(4))
"""Flux's single blocks have four layers in one, no layer has more."""


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """The number of outputs, which is all that the blocks tell; InputError for blocks that are not square."""
    names = _names(header.tensors)
    header.check_missing([] if names else [BLOCKS])
    for name in names:
        info = header.tensors[name]
        square = len(info.shape) == 3 and info.shape[1] == info.shape[2]
        header.check_axes(info, square, "(blocks, size, size)")
    out = sum(_rows(header.tensors, name) for name in names)
    check_rescale(header, out)
    return DeltaShape((out, ANY), out, None)


def check_rescale(header: ModuleHeader, out: int) -> None:
    """Raises InputError when there is not one factor for each of `out` outputs."""
    info = header.tensors.get("rescale")
    if info is not None:
        header.check_axes(info, info.shape[:1] == (out,) and info.numel == out, f"({out}, 1)")


def _names(tensors: Tensors) -> list[str]:
    return [name for name in (BLOCKS, *SPLIT, DIAGONAL) if name in tensors]


def _rows(tensors: Tensors, name: str) -> int:
    blocks, size, _ = tensors[name].shape
    return blocks * size


def change(module: ModuleData, weight: Weight) -> MakeChange:
    """Of the weight at strength 1, band by band: whole blocks are turned, then cut."""
    import torch

    turns = [(_rows(module.tensors, name), _turn(module, name)) for name in _names(module.tensors)]
    factors = module.read("rescale").flatten() if "rescale" in module.tensors else None

    def make(values: torch.Tensor, rows: range) -> torch.Tensor:
        turned = torch.cat([_turned(turn, piece) for turn, piece in _pieces(turns, values, rows, weight)])
        if factors is not None:
            turned *= factors[rows.start : rows.stop, None]
        return turned.sub_(values)

    return make


def _turn(module: ModuleData, name: str) -> torch.Tensor:
    """Rᵀ of every block, (n, b, b)."""
    import torch

    blocks = module.read(name)
    if name != DIAGONAL:
        return cayley(blocks, constraint(module, _rows(module.tensors, name))).mT
    with_unit = blocks + torch.eye(blocks.shape[-1])
    return min(blocks, with_unit, key=_distance_from_turns).mT


def _distance_from_turns(blocks: torch.Tensor) -> float:
    import torch

    return float((blocks @ blocks.mT - torch.eye(blocks.shape[-1])).norm())


def constraint(module: ModuleData, out: int) -> float:
    """The largest norm that Q may have; 0 where there is none."""
    return float(module.read("alpha")) * out if "alpha" in module.tensors else 0.0


def cayley(blocks: torch.Tensor, limit: float) -> torch.Tensor:
    """(I + Q)(I − Q)⁻¹ of blocks (…, b, b), computed in float64."""
    import torch

    skew = (blocks - blocks.mT).double()
    norm = float(skew.norm())
    if 0.0 < limit < norm:
        skew *= limit / norm
    unit = torch.eye(skew.shape[-1], dtype=torch.float64)
    turns: torch.Tensor = torch.linalg.solve(unit - skew, unit + skew)
    return turns.to(blocks.dtype)


Piece = tuple["torch.Tensor", range, int]
"""(rows of the weight: whole blocks, which of them are wanted, number of the first block)"""


def _pieces(
    turns: list[tuple[int, torch.Tensor]], values: torch.Tensor, rows: range, weight: Weight
) -> Iterator[tuple[torch.Tensor, Piece]]:
    """The parts of a band that one turn each has, with the rest of the blocks that the band cuts."""
    import torch

    top = 0
    for height, turn in turns:
        start, stop = max(rows.start, top), min(rows.stop, top + height)
        if start < stop:
            size = turn.shape[-1]
            first = top + (start - top) // size * size
            last = top + -(-(stop - top) // size) * size
            inner = values[start - rows.start : stop - rows.start]
            parts = [inner] if first == start else [weight.rows(first, start), inner]
            if stop < last:
                parts.append(weight.rows(stop, last))
            block = torch.cat(parts) if len(parts) > 1 else inner
            yield turn, (block, range(start - first, stop - first), (first - top) // size)
        top += height


def _turned(turn: torch.Tensor, piece: Piece) -> torch.Tensor:
    whole, wanted, number = piece
    size = turn.shape[-1]
    count = len(whole) // size
    turned: torch.Tensor = (turn[number : number + count] @ whole.reshape(count, size, -1)).flatten(0, 1)
    return turned[wanted.start : wanted.stop]


def oft_or_boft(shapes: Shapes) -> str:
    """BOFT has an axis more, the stages."""
    return "boft" if len(shapes.get(BLOCKS, ())) == 4 else "oft"


PARTS = {name: name for name in (BLOCKS, *SPLIT, DIAGONAL, "rescale", "alpha")}
KINDS = (Kind("oft", "OFT", PARTS, delta_shape, change=change, variant=oft_or_boft),)
