"""How quantised tensors become fp32: small codes, looked up in a table, times scales.

    value[i] = table[code[i]] · scale[i // run]

in the order of the file, whatever the shape. `run` is the whole tensor for one scale, a row for scales of
rows, else a block. Elements are made piece by piece, so that a layer takes no more memory than its result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from loralathe.tensorfiles.dtypes import DTYPES
from loralathe.tensorfiles.quantised.tables import table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[Any]

PIECE = 1 << 18
"""Elements that are made at once."""

ReadPart = Callable[[str, int, memoryview], None]
"""(tensor as it is stored, first byte, buffer to be filled)."""


class Coding(Protocol):
    """A tensor that is read in F32 and stored otherwise."""

    def fill(self, read: ReadPart, first: int, values: Values) -> None:
        """Make elements [first, first + len(values)) of the flattened tensor; at most PIECE of them."""


class Scales(Protocol):
    """Numbers that codes are multiplied by; each stands for `run` elements."""

    @property
    def run(self) -> int: ...

    def values(self, read: ReadPart, start: int, stop: int) -> Values: ...


def decode_into(coding: Coding, read: ReadPart, buffer: memoryview, start: int) -> None:
    """Fill `buffer` with bytes [start, …) of a tensor in F32."""
    if start % 4 or buffer.nbytes % 4:
        first, stop = start // 4, -(-(start + buffer.nbytes) // 4)
        whole = memoryview(bytearray(4 * (stop - first)))
        decode_into(coding, read, whole, 4 * first)
        buffer.cast("B")[:] = whole[start - 4 * first :][: buffer.nbytes]
        return
    import numpy as np

    values = np.frombuffer(buffer, np.float32)
    # What is NaN or infinite is found where it is used, and told there.
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(0, len(values), PIECE):
            coding.fill(read, start // 4 + at, values[at : at + PIECE])


@dataclass(frozen=True)
class ScaledCodes:
    """Codes in the tensor `name`, one a byte; `bits` 4: two a byte, the first in the upper half.

    codes:    code → value
    rotation: 0, or the size of groups of a row that were turned by `hadamard`
    """

    name: str
    codes: Values
    scales: Scales
    numel: int
    bits: int = 8
    rotation: int = 0
    _whole: dict[str, Values] = field(default_factory=dict, compare=False)

    def fill(self, read: ReadPart, first: int, values: Values) -> None:
        import numpy as np

        unit = self.rotation or 8 // self.bits
        before, count = first % unit, len(values)
        size = before + count + -(before + count) % unit
        if size == count:
            self._fill_units(read, first, values)
        else:
            whole = np.empty(size, np.float32)
            self._fill_units(read, first - before, whole)
            values[:] = whole[before : before + count]

    def _fill_units(self, read: ReadPart, first: int, values: Values) -> None:
        """The same for whole bytes and whole rotated groups."""
        import numpy as np

        raw = np.empty(len(values) * self.bits // 8, np.uint8)
        read(self.name, first * self.bits // 8, raw.data)
        one = self.scales.run >= self.numel and not self.rotation
        codes = self._scaled(read) if one else self.codes
        if self.bits == 8:
            np.take(codes, raw, out=values, mode="wrap")
        else:
            pairs = np.stack([np.repeat(codes, 16), np.tile(codes, 16)], axis=1).view(np.complex64)[:, 0]
            np.take(pairs, raw, out=values.view(np.complex64), mode="wrap")
        if self.rotation:
            # Before the scales, of which a group has one: sums of whole numbers, over a power of two, are
            # exact, in whatever order a processor adds them.
            turned = values.reshape(-1, self.rotation) @ hadamard(self.rotation)
            values[:] = turned.reshape(-1)
        if not one:
            _multiply(values, first, self.scales, read)

    def _scaled(self, read: ReadPart) -> Values:
        """The table times the only scale; made once."""
        if "table" not in self._whole:
            self._whole["table"] = self.codes * self.scales.values(read, 0, 1)[0]
        return self._whole["table"]


def _multiply(values: Values, first: int, scales: Scales, read: ReadPart) -> None:
    """Each run times its scale; the first and the last run may be cut."""
    run, stop = scales.run, first + len(values)
    start = first // run
    factors = scales.values(read, start, -(-stop // run))
    head = min(-first % run, len(values))
    values[:head] *= factors[0]
    body = (len(values) - head) // run
    at = 1 if head else 0
    if body:
        values[head : head + body * run].reshape(body, run)[:] *= factors[at : at + body, None]
    if head + body * run < len(values):
        values[head + body * run :] *= factors[at + body]


@dataclass(frozen=True)
class StoredScales:
    """Scales in a tensor of their own, one after the other, times `factor`."""

    name: str
    dtype: str
    run: int

    def values(self, read: ReadPart, start: int, stop: int) -> Values:
        return read_numbers(read, self.name, self.dtype, start, stop)


@dataclass(frozen=True)
class TiledScales:
    """Scales in tiles of 128 rows × 4 blocks, as cuBLAS wants them, times one more scale where there is one.

    In a tile, the scale of (row, block) is number 16·(row % 32) + 4·(row // 32) + block; tiles follow each
    other along the row first.
    """

    name: str
    dtype: str
    run: int
    blocks: int
    whole: tuple[str, str] | None = None

    def values(self, read: ReadPart, start: int, stop: int) -> Values:
        import numpy as np

        first, last = start // self.blocks, -(-stop // self.blocks)
        tiles = -(-self.blocks // 4)
        top, bottom = first // 128, -(-last // 128)
        stored = read_numbers(read, self.name, self.dtype, top * tiles * 512, bottom * tiles * 512)
        rows, blocks = np.arange(first, last)[:, None] - 128 * top, np.arange(self.blocks)[None, :]
        tile, row = (rows // 128) * tiles + blocks // 4, rows % 128
        found = stored[512 * tile + 16 * (row % 32) + 4 * (row // 32) + blocks % 4].reshape(-1)
        if self.whole is not None:
            found = found * read_numbers(read, *self.whole, 0, 1)[0]
        return np.asarray(found[start - first * self.blocks : stop - first * self.blocks])


def read_numbers(read: ReadPart, name: str, dtype: str, start: int, stop: int) -> Values:
    """Numbers [start, stop) of a stored tensor, as fp32."""
    import numpy as np

    size = DTYPES[dtype].bits // 8
    raw: Values = np.empty((stop - start) * size, np.uint8)
    read(name, start * size, raw.data)
    if size == 1:
        return np.asarray(table(dtype)[raw])
    if dtype == "BF16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    found: Values = raw.view(_NUMPY[dtype]).astype(np.float32)
    return found


_NUMPY: Mapping[str, str] = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
NUMBERS = (*_NUMPY, "BF16")
"""dtypes that scales may have."""


@cache
def hadamard(size: int) -> Values:
    """The rotation of ComfyUI's 'convrot': Kronecker powers of a 4 × 4 matrix of ±1, over √size.

    It is symmetric and its own inverse, and only powers of 4 have one.
    """
    import numpy as np

    four = np.ones((4, 4), np.float32) - 2 * np.eye(4, dtype=np.float32)[::-1]
    found: Values = np.ones((1, 1), np.float32)
    while len(found) < size:
        found = np.kron(found, four)
    return np.asarray(found / np.float32(math.sqrt(size)))
