"""(IA)³: every output, or every input, of a layer gets a factor of its own (Liu et al. 2022).

    weight (n,), for a convolution (1, n, 1, 1), with on_input ()     LyCORIS: the factor is 1 + weight
    ia3_l  (out, 1) or (1, in)                                        PEFT: the factor itself

PEFT's factors of outputs are for the bias, too. on_input is 1 where LyCORIS' factors are those of the inputs,
0 where they are those of the outputs; its biases stay as they are, in training as here. (It cannot open its
own files: it takes two tensors for one.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.adapters.kind import (
    ANY,
    DeltaShape,
    Kind,
    MakeChange,
    ModuleData,
    ModuleHeader,
    Shapes,
    Weight,
)
from loralathe.errors import InputError

if TYPE_CHECKING:
    import torch

SIDE, VECTOR, FACTORS = "on_input", "weight", "ia3_l"


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """(n, any) or (any, n), of a bias (n,); InputError naming file and tensor where the side is not told."""
    if FACTORS in header.tensors:
        return _shape_of_peft(header)
    tensors = header.tensors
    header.check_missing([name for name in (SIDE, VECTOR) if name not in tensors])
    info, side = tensors[VECTOR], tensors[SIDE]
    header.check_axes(info, sum(size != 1 for size in info.shape) <= 1, "(channels)")
    header.check_axes(side, side.numel == 1, "one number")
    number = header.scalar(side)
    if number not in (0, 1):
        raise InputError(
            f"{SIDE} is {number:g}; it should be 0 (outputs) or 1 (inputs)",
            where=header.place(side),
            fix="the file is damaged; save it again with the program that made it",
        )
    return DeltaShape((ANY, info.numel) if number else (info.numel, ANY), info.numel, None)


def _shape_of_peft(header: ModuleHeader) -> DeltaShape:
    """Of a convolution the two shapes are the same, and its config alone tells which side is meant."""
    info = header.tensors[FACTORS]
    header.check_axes(info, len(info.shape) == 2 and 1 in info.shape, "(out, 1) or (1, in); of linear layers")
    if header.bias:
        return DeltaShape((info.shape[0],), info.shape[0], None)
    shape = (info.shape[0], ANY) if info.shape[1] == 1 else (ANY, info.shape[1])
    return DeltaShape(shape, info.numel, None)


def change(module: ModuleData, weight: Weight) -> MakeChange:
    """W ∘ w, along the rows or the input channels; w is how far the factors are from 1."""
    if FACTORS in module.tensors:
        factors = module.read(FACTORS) - 1.0
        vector, of_inputs = factors.flatten(), factors.shape[1] != 1
    else:
        vector, of_inputs = module.read(VECTOR).flatten(), bool(module.read(SIDE))
    if not of_inputs:
        return lambda values, rows: values * vector[rows.start : rows.stop, None]

    def make(values: torch.Tensor, rows: range) -> torch.Tensor:
        channels = values.reshape(len(values), len(vector), -1)
        return (channels * vector[:, None]).reshape(values.shape)

    return make


def _of_outputs(shapes: Shapes) -> bool:
    return shapes.get(FACTORS, ())[1:] == (1,)


KINDS = (
    Kind(
        "ia3", "(IA)³", {SIDE: SIDE, FACTORS: FACTORS}, delta_shape,
        change=change, bare={VECTOR: VECTOR}, both=_of_outputs,
    ),
)  # fmt: skip
