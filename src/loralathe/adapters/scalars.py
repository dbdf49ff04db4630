"""Numbers of one element (`alpha`) read without torch, so that looking into an adapter stays light."""

from __future__ import annotations

import struct

from loralathe.tensorfiles import TensorFile, TensorInfo

_FORMATS = {
    "F64": "<d", "F32": "<f", "F16": "<e",
    "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b",
    "U64": "<Q", "U32": "<I", "U16": "<H", "U8": "<B",
}  # fmt: skip


def read_scalar(file: TensorFile, info: TensorInfo) -> float:
    """The value of a tensor with one element, shape [] or [1], as a Python float."""
    data = bytearray(info.nbytes)
    file.readinto(info, memoryview(data))
    if info.dtype == "BF16":  # the upper half of a float32
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    layout = _FORMATS.get(info.dtype)
    if layout is None:
        return float(file.read(info.name).item())
    return float(struct.unpack(layout, data)[0])
