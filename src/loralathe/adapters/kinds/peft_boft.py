"""PEFT's BOFT: a butterfly of small rotations of a layer's inputs, and a factor for each output.

    boft_R (m, n, b, b)           m stages of n blocks, n·b = in·k·k
    boft_s (out, 1) or (1, out)   of linear layers, of convolutions

A block turns by (I − Q)(I + Q)⁻¹, Q = ½(R − Rᵀ) (`peft/tuners/boft/layer.py`). Stage i takes the inputs in
groups of 2ⁱ·b, cuts each into pieces of b/2, and puts piece k of the group to the place that k has among
0, 2, 4 …, 1, 3, 5 …; the blocks turn what they find there, and the pieces go back. The weight becomes s·W·Mᵀ,
M = Mₘ ⋯ M₁, one of each stage.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loralathe.adapters.kind import DeltaShape, Kind, MakeChange, ModuleData, ModuleHeader, Weight
from loralathe.errors import InputError

if TYPE_CHECKING:
    import torch

TURNS, FACTORS = "boft_R", "boft_s"


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """InputError for blocks that are not square, stages that do not fit, and factors that are no vector."""
    header.check_missing([name for name in (TURNS, FACTORS) if name not in header.tensors])
    turns, factors = header.tensors[TURNS], header.tensors[FACTORS]
    square = len(turns.shape) == 4 and turns.shape[2] == turns.shape[3]
    header.check_axes(turns, square, "(stages, blocks, size, size)")
    stages, blocks, size, _ = turns.shape
    if stages > 1 and (size % 2 or stages > 32 or blocks % 2 ** (stages - 1)):
        raise InputError(
            f"{blocks} blocks cannot be paired in {stages} stages",
            where=header.place(turns),
            fix="the file is damaged; save it again with the program that made it",
        )
    header.check_axes(factors, len(factors.shape) == 2 and 1 in factors.shape, "(out, 1) or (1, out)")
    return DeltaShape((factors.numel, *header.unflattened(turns, blocks * size)), blocks * size, None)


def change(module: ModuleData, weight: Weight) -> MakeChange:
    """s·W·Mᵀ − W, row by row."""
    turns, factors = _turns(module.read(TURNS)), module.read(FACTORS).flatten()
    width = math.prod(weight.shape[1:])
    orders = [_order(width, turns.shape[-1], stage) for stage in range(len(turns))]

    def make(values: torch.Tensor, rows: range) -> torch.Tensor:
        turned = values
        for blocks, order in zip(turns, orders, strict=True):
            apart = turned.new_empty(turned.shape)
            apart[:, order] = turned
            groups = apart.reshape(len(values), len(blocks), -1).transpose(0, 1)
            met = (groups @ blocks.mT).transpose(0, 1).reshape(values.shape)
            turned = met[:, order]
        return turned * factors[rows.start : rows.stop, None] - values

    return make


def _turns(blocks: torch.Tensor) -> torch.Tensor:
    """(m, n, b, b), computed in float64."""
    import torch

    skew = 0.5 * (blocks - blocks.mT).double()
    unit = torch.eye(skew.shape[-1], dtype=torch.float64)
    turned: torch.Tensor = torch.linalg.solve(unit + skew, unit - skew, left=False)
    return turned.to(blocks.dtype)


def _order(width: int, size: int, stage: int) -> torch.Tensor:
    """Which input stands at each place: pieces of half a block, the even ones of a group before the odd."""
    import torch

    if stage == 0:
        return torch.arange(width)
    pieces = torch.arange(width).reshape(-1, 2 ** (stage + 1), size // 2)
    return torch.cat([pieces[:, 0::2], pieces[:, 1::2]], dim=1).flatten()


KINDS = (Kind("peft_boft", "BOFT (PEFT)", {TURNS: TURNS, FACTORS: FACTORS}, delta_shape, change=change),)
