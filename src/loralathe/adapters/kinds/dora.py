"""DoRA: the norms that a trained layer's rows (or input columns) shall have (Liu et al. 2024).

dora_scale              (out, 1[, 1, 1]) one for each output, LyCORIS 3.2 and later
                        (1, in[, 1, 1])  one for each input, LyCORIS before
lora_magnitude_vector   PEFT: one for each output, in whatever shape

They stand beside the factors of another kind, whose delta is Δ, and the change of a weight W is

    g·(W + Δ)/‖W + Δ‖ − W          ‖·‖ and g by outputs or by inputs

(*DoRA: Weight-Decomposed Low-Rank Adaptation*, eq. 5; both axes that LyCORIS has had.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from loralathe.adapters.kind import DeltaShape, Kind, MakeChange, ModuleData, ModuleHeader, Weight
from loralathe.errors import InputError
from loralathe.tensorfiles import DTYPES, TensorInfo

if TYPE_CHECKING:
    import torch

SCALE, VECTOR = "dora_scale", "lora_magnitude_vector"


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """That of the factors; InputError when the magnitudes fit neither its outputs nor its inputs."""
    assert header.inside is not None
    part, info = _magnitudes(header.tensors)
    shape = header.inside.shape
    single = math.prod(info.shape[2:]) == 1 and DTYPES[info.dtype].is_float
    if not single or not (_of_outputs(part, info, shape) or _of_inputs(part, info, shape)):
        raise InputError(
            f"DoRA magnitudes of shape {list(info.shape)} do not fit a layer of {list(shape)}",
            where=header.place(info),
            fix="the file is damaged or of an unknown program; save it again with its trainer",
        )
    return header.inside


def _magnitudes(tensors: Mapping[str, TensorInfo]) -> tuple[str, TensorInfo]:
    return next((part, tensors[part]) for part in (SCALE, VECTOR) if part in tensors)


def _of_outputs(part: str, info: TensorInfo, shape: tuple[int, ...]) -> bool:
    flat = part == VECTOR and info.numel == shape[0]
    return flat or (*info.shape, 1)[:2] == (shape[0], 1)


def _of_inputs(part: str, info: TensorInfo, shape: tuple[int, ...]) -> bool:
    return part == SCALE and (*info.shape, 1)[:2] == (1, *shape[1:2])


def change(module: ModuleData, weight: Weight) -> MakeChange:
    """Of the weight at strength 1; by inputs their norms are found first, by reading all of it."""
    part, info = _magnitudes(module.tensors)
    lengths = module.read(part).flatten()
    if _of_outputs(part, info, module.shape):
        return _by_rows(module, lengths)
    return _by_columns(module, lengths / _column_norms(module, weight, len(lengths)))


def _by_rows(module: ModuleData, lengths: torch.Tensor) -> MakeChange:
    def make(weight: torch.Tensor, rows: range) -> torch.Tensor:
        total = weight + module.delta(rows)
        norms = total.norm(dim=1).clamp_(min=1e-30)
        factors = lengths[rows.start : rows.stop] / norms
        return total.mul_(factors[:, None]).sub_(weight)

    return make


def _by_columns(module: ModuleData, factors: torch.Tensor) -> MakeChange:
    def make(weight: torch.Tensor, rows: range) -> torch.Tensor:
        total = (weight + module.delta(rows)).reshape(len(weight), len(factors), -1)
        return total.mul_(factors[:, None]).reshape(weight.shape).sub_(weight)

    return make


def _column_norms(module: ModuleData, weight: Weight, inputs: int) -> torch.Tensor:
    """Over all outputs and the kernel, (inputs,), summed in float64."""
    import torch

    squares, start = torch.zeros(inputs, dtype=torch.float64), 0
    for band in weight.bands():
        rows = range(start, start + len(band))
        total = (band + module.delta(rows)).double().reshape(len(band), inputs, -1)
        squares += total.square_().sum((0, 2))
        start = rows.stop
    return squares.sqrt_().clamp_(min=1e-30).float()


KINDS = (Kind("dora", "DoRA", {SCALE: SCALE, VECTOR: VECTOR}, delta_shape, change=change, beside=True),)
