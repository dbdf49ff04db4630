"""DoRA's magnitudes: the norms that a trained layer's rows (or input columns) shall have (Liu et al. 2024).

dora_scale              (out, 1[, 1, 1]) one for each output, LyCORIS 3.2 and later
                        (1, in[, 1, 1])  one for each input, LyCORIS before
lora_magnitude_vector   PEFT: one for each output, in whatever shape
"""

from __future__ import annotations

import math

from loralathe.adapters.delta_shape import place
from loralathe.errors import InputError
from loralathe.tensorfiles import DTYPES, TensorFile, TensorInfo

PARTS = {"dora_scale": "dora_scale", "lora_magnitude_vector": "lora_magnitude_vector"}
NAMES = tuple(PARTS)


def axis_of(file: TensorFile, part: str, info: TensorInfo, shape: tuple[int, ...]) -> int:
    """0: a magnitude for each output of a delta of `shape`, 1: for each input; InputError if neither."""
    outputs, inputs = (shape[0], 1), (1, *shape[1:2])
    found = (*info.shape, 1)[:2]
    flat = part == "lora_magnitude_vector" and info.numel == shape[0]
    rest = math.prod(info.shape[2:]) == 1 and DTYPES[info.dtype].is_float
    if rest and (flat or found == outputs):
        return 0
    if rest and part == "dora_scale" and found == inputs:
        return 1
    raise InputError(
        f"DoRA magnitudes of shape {list(info.shape)} do not fit a layer of {list(shape)}",
        where=place(file, info.name),
        fix="the file is damaged or of an unknown program; save it again with its trainer",
    )
