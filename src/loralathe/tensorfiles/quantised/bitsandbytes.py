"""4-bit weights of bitsandbytes (nf4, fp4): two codes a byte, a table of 16 values, a scale for each block.

Beside `<name>` (uint8, the codes) stand `<name>.quant_map` (the table), `<name>.absmax` (the scales) and
`<name>.quant_state.bitsandbytes__nf4` (JSON as uint8: shape, block size). The scales may be quantised again,
"nested": `absmax` then holds codes of 8 bits, with `nested_quant_map`, `nested_absmax` and an offset of their
own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from loralathe.errors import InputError
from loralathe.tensorfiles.header import Header, Stored, TensorInfo
from loralathe.tensorfiles.quantised.coding import NUMBERS, ReadPart, ScaledCodes, Scales, StoredScales
from loralathe.tensorfiles.quantised.coding import read_numbers as numbers
from loralathe.tensorfiles.quantised.found import Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[Any]

STATE = ".quant_state.bitsandbytes__"
ROUNDING = {"nf4": 0.101, "fp4": 0.13}
"""rms rounding error of normal weights with a scale for every 64, measured, and a tenth more."""
_LONGEST = 1 << 16
_MOST_AXES = 8
_LARGEST = 2**40
_DAMAGED = "get the file again, or the program that wrote it left something out"


def bitsandbytes_layers(header: Header, read: ReadPart, where: str) -> Iterator[Layer]:
    """Every 4-bit weight of a file; InputError for a part that is missing or does not fit."""
    for name in header.tensors:
        weight, state, kind = name.partition(STATE)
        if state and kind in ROUNDING:
            yield _Reader(header, read, where, weight, kind).layer(name)


@dataclass(frozen=True)
class NestedScales:
    """Scales that are codes themselves: offset + table[code[i]] · scale[i // nested run]."""

    name: str
    run: int
    table: tuple[str, str]
    scales: StoredScales
    offset: float

    def values(self, read: ReadPart, start: int, stop: int) -> Values:
        import numpy as np

        codes = np.empty(stop - start, np.uint8)
        read(self.name, start, codes.data)
        inner = self.scales.run
        factors = self.scales.values(read, start // inner, -(-stop // inner))
        which = np.arange(start, stop) // inner - start // inner
        table = numbers(read, *self.table, 0, 256)
        return np.asarray(table[codes] * factors[which] + np.float32(self.offset))


class _Reader:
    """One weight, `name`, and its parts."""

    def __init__(self, header: Header, read: ReadPart, where: str, name: str, kind: str) -> None:
        self.tensors = header.tensors
        self.read = read
        self.name = name
        self.kind = kind
        self.where = f"{where}, tensor '{name}'"
        self.parts: list[str] = []

    def layer(self, state: str) -> Layer:
        told = self._state(state)
        shape, run = _sizes(told.get("shape")), _even(told.get("blocksize"))
        if not shape or not run:
            raise self._misfit("its description lacks its shape or the size of its blocks")
        numel = prod(shape)
        weight = self._part("", ("U8", "I8"), -(-numel // 2))
        table = self._part(".quant_map", NUMBERS, 16)
        count = -(-numel // run)
        scales = self._nested(told, run, count) if "nested_blocksize" in told else self._scales(run, count)
        codes = numbers(self.read, table.name, table.dtype, 0, 16)
        coding = ScaledCodes(self.name, codes, scales, numel, bits=4)
        nbytes = weight.nbytes + sum(self.tensors[part].nbytes for part in self.parts)
        stored = Stored(self.kind, nbytes, ROUNDING[self.kind])
        info = TensorInfo(self.name, "F32", shape, weight.begin, weight.begin + 4 * numel, stored)
        return Layer(info, coding, tuple(self.parts))

    def _state(self, name: str) -> Mapping[str, object]:
        info = self.tensors[name]
        self.parts.append(name)
        text = bytearray(min(info.nbytes, _LONGEST))
        self.read(name, 0, memoryview(text))
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._misfit("its description is not a JSON object")
        return found

    def _scales(self, run: int, count: int) -> StoredScales:
        scales = self._part(".absmax", NUMBERS, count)
        return StoredScales(scales.name, scales.dtype, run)

    def _nested(self, told: Mapping[str, object], run: int, count: int) -> Scales:
        inner, offset = _even(told.get("nested_blocksize")), told.get("nested_offset", 0.0)
        if not inner or isinstance(offset, bool) or not isinstance(offset, (int, float)):
            raise self._misfit("its description does not say how its scales are quantised")
        codes = self._part(".absmax", ("U8", "I8"), count)
        table = self._part(".nested_quant_map", NUMBERS, 256)
        scales = self._part(".nested_absmax", NUMBERS, -(-count // inner))
        nested = StoredScales(scales.name, scales.dtype, inner)
        return NestedScales(codes.name, run, (table.name, table.dtype), nested, offset)

    def _part(self, word: str, dtypes: tuple[str, ...], numel: int) -> TensorInfo:
        """A tensor of the weight, of one of these dtypes and so many numbers."""
        info = self.tensors.get(self.name + word)
        if info is None:
            raise self._misfit(f"'{self.name}{word}' is missing")
        if info.dtype not in dtypes or info.numel != numel:
            raise self._misfit(
                f"'{info.name}' is {info.dtype} of shape {list(info.shape)}, "
                f"and should be {numel:,} numbers of {' or '.join(dtypes)}"
            )
        if word:
            self.parts.append(info.name)
        return info

    def _misfit(self, what: str) -> InputError:
        return InputError(f"a 4-bit weight cannot be read: {what}", where=self.where, fix=_DAMAGED)


def _sizes(value: object) -> tuple[int, ...]:
    """A list of sizes, each 1 or more; empty where it is something else."""
    sizes = value if isinstance(value, list) and len(value) <= _MOST_AXES else []
    return tuple(sizes) if all(type(size) is int and 0 < size < _LARGEST for size in sizes) else ()


def _even(value: object) -> int:
    """An even size, so that a block is a whole number of bytes; 0 where it is something else."""
    return value if type(value) is int and 0 < value < _LARGEST and value % 2 == 0 else 0
