"""(IA)³: every output, or every input, of a layer gets a factor of its own (Liu et al. 2022).

    weight (n,), for a convolution (1, n, 1, 1), with on_input ()     LyCORIS: the factor is 1 + weight

on_input is 1 where the n factors are those of the inputs, 0 where they are those of the outputs. The bias
stays as it is, as in LyCORIS' own training. (LyCORIS cannot open its files: it takes two tensors for one.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.adapters.kind import ANY, DeltaShape, Kind, MakeChange, ModuleData, ModuleHeader, Weight
from loralathe.errors import InputError

if TYPE_CHECKING:
    import torch

SIDE, VECTOR = "on_input", "weight"


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """(n, any) or (any, n); InputError naming file and tensor where on_input is neither 0 nor 1."""
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


def change(module: ModuleData, weight: Weight) -> MakeChange:
    """W ∘ w, along the rows or the input channels."""
    vector = module.read(VECTOR).flatten()
    if not module.read(SIDE):
        return lambda values, rows: values * vector[rows.start : rows.stop, None]

    def make(values: torch.Tensor, rows: range) -> torch.Tensor:
        channels = values.reshape(len(values), len(vector), -1)
        return (channels * vector[:, None]).reshape(values.shape)

    return make


KINDS = (Kind("ia3", "(IA)³", {SIDE: SIDE}, delta_shape, change=change, bare={VECTOR: VECTOR}),)
