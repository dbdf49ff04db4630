"""Alphas as tensors: kohya and LyCORIS write one of one element beside the factors of each module.

It is read without torch, so that looking into an adapter stays light.
"""

from __future__ import annotations

import math
import struct

from loralathe.errors import InputError
from loralathe.tensorfiles import DTYPES, TensorFile, TensorInfo

_FORMATS = {
    "F64": "<d", "F32": "<f", "F16": "<e",
    "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b",
    "U64": "<Q", "U32": "<I", "U16": "<H", "U8": "<B",
}  # fmt: skip


def read_alpha(file: TensorFile, info: TensorInfo) -> float:
    """The alpha of a module. Raises InputError for anything but one finite number other than 0."""
    if info.numel != 1:
        raise InputError(
            f"alpha has shape {list(info.shape)}; it should be one number",
            where=f"{file.path}, tensor '{info.name}'",
        )
    alpha = read_scalar(file, info)
    if not math.isfinite(alpha) or alpha == 0:
        raise InputError(
            f"alpha is {alpha:g}, so the module has no usable scale",
            where=f"{file.path}, tensor '{info.name}'",
            fix="alpha is a finite number other than 0; the training or its save went wrong",
        )
    return alpha


def read_scalar(file: TensorFile, info: TensorInfo) -> float:
    """The value of a tensor with one element, shape [] or [1], as a Python float."""
    data = bytearray(info.nbytes)
    file.readinto(info, memoryview(data))
    if info.dtype == "BF16":  # the upper half of a float32
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    layout = _FORMATS.get(info.dtype)
    if layout is None and not (DTYPES[info.dtype].is_float or info.dtype == "BOOL"):
        raise InputError(
            f"alpha is of dtype {info.dtype}; it should be a plain number",
            where=f"{file.path}, tensor '{info.name}'",
        )
    if layout is None:
        return float(file.read(info.name).item())
    return float(struct.unpack(layout, data)[0])
