"""The first operators of an ONNX file, read from its protobuf: what a model does to its input before all
else.

onnxruntime does not tell the nodes of a graph, and the package `onnx` is not needed for anything else. Field
numbers are those of onnx.proto: ModelProto.graph 7, GraphProto.node 1, NodeProto.op_type 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

GRAPH, NODE, OPERATOR = 7, 1, 4
BYTES = 2
"""The wire type of texts and messages: a length, then so many bytes."""
FIXED = {1: 8, 5: 4}
"""Wire type → bytes of numbers of fixed length."""
MOST_FIELDS = 1000


def first_operators(path: Path, count: int = 8) -> tuple[str, ...]:
    """`("Sub", "Mul", "Conv", …)`; fewer, or none, for a file that is no ONNX model."""
    found: list[str] = []
    with path.open("rb") as file:
        try:
            for number, length in _fields(file, path.stat().st_size):
                if number == GRAPH:
                    for inner, size in _fields(file, file.tell() + length):
                        if inner != NODE:
                            file.seek(size, 1)
                            continue
                        found.append(_operator(file, size))
                        if len(found) == count:
                            return tuple(found)
                    break
                file.seek(length, 1)
        except ValueError:  # not protobuf: onnxruntime says what is wrong
            return ()
    return tuple(found)


def does_its_own_scaling(path: Path) -> bool:
    """Whether a model takes pixels 0 to 255 as they are: it begins with a subtraction and a multiplication,
    as those that came from MXNet (SFace, older ArcFace). InsightFace tells them by the same sign."""
    found = first_operators(path)
    return "Sub" in found and bool({"Mul", "Div"} & set(found))


def _operator(file: BinaryIO, size: int) -> str:
    end = file.tell() + size
    name = ""
    for number, length in _fields(file, end):
        if number == OPERATOR and length <= 64:
            name = file.read(length).decode("utf-8", "replace")
        else:
            file.seek(length, 1)
    file.seek(end)
    return name


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """(number, bytes) of the fields with bytes before `end`; the caller moves past them. ValueError for
    damage.
    """
    for _ in range(MOST_FIELDS):
        if file.tell() >= end:
            return
        number, kind = divmod(_varint(file), 8)
        if kind == 0:
            _varint(file)
        elif kind in FIXED:
            file.seek(FIXED[kind], 1)
        elif kind == BYTES:
            length = _varint(file)
            if file.tell() + length > end:
                raise ValueError("a field that is longer than its message")
            yield number, length
        else:
            raise ValueError("no wire type that is known")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file ends")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number that is too long")
