"""The structure of a GGUF file: what it says of itself, and where its tensors lie.

Little-endian, versions 2 and 3: a mark, the numbers of tensors and of entries, the entries (key, type,
value), the tensors (name, axes from the fastest to the slowest, type, offset), then their data from the next
multiple of the alignment on. Everything that the file asks for is bounded before it is read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

from loralathe.errors import InputError, counted
from loralathe.tensorfiles.dtypes import DTYPES
from loralathe.tensorfiles.gguf.blocks import BLOCKS, PLAIN, Blocks
from loralathe.tensorfiles.header import MAX_HEADER_BYTES, MAX_TENSORS, Header, Stored, TensorInfo, too_many
from loralathe.tensorfiles.positional import read_at
from loralathe.tensorfiles.quantised import Coding, Quantised

MARK = b"GGUF"
VERSIONS = (2, 3)
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Type of an entry → bytes, of those of fixed size."""
_TEXT, _LIST, _INT32, _UINT32 = 8, 9, 5, 4
_MOST_ENTRIES = 100_000
_MOST_VALUES = 1_000_000
"""Texts in lists: tokenizers have a quarter of a million."""
_LONGEST_NAME = 1 << 16
_MOST_AXES = 8
_CHUNK = 1 << 20
_SIZE_LIMIT = 2**63
SHAPE = "comfy.gguf.orig_shape."
"""City96's converter stores some tensors in rows of 256; their true shapes stand under this and the name."""
KEPT = ("general.architecture", "general.name")
"""Texts that are shown; the others tell of the file's own quantisation."""
_DAMAGED = "download or copy the file again; it is damaged or was written by a faulty program"


def read_gguf(fd: int, size: int, where: str) -> tuple[Header, Quantised]:
    """The file's tensors as they are stored, and as they are read. No tensor data is read."""
    return _Structure(_Cursor(fd, size, where), where).read()


class _Cursor:
    """Reads a file's beginning from left to right; refuses to go beyond what a header may take."""

    def __init__(self, fd: int, size: int, where: str) -> None:
        self._fd = fd
        self.size = size
        self.where = where
        self._end = min(size, MAX_HEADER_BYTES)
        self.at = 0
        self._buffer = b""
        self._start = 0

    def skip(self, count: int) -> None:
        if count > self._end - self.at:
            raise InputError(
                f"truncated or damaged: its header would take more than {self._end:,} bytes",
                where=self.where,
                fix=_DAMAGED,
            )
        self.at += count

    def take(self, count: int) -> bytes:
        """The next bytes; few enough, as the caller sees to."""
        first = self.at
        self.skip(count)
        if self.at > self._start + len(self._buffer):
            data = bytearray(min(max(_CHUNK, count), self._end - first))
            read_at(self._fd, memoryview(data), first, self.where)
            self._buffer, self._start = bytes(data), first
        return self._buffer[first - self._start : self.at - self._start]

    def number(self, form: str) -> int:
        (found,) = struct.unpack(f"<{form}", self.take(struct.calcsize(form)))
        return int(found)

    def text(self) -> str:
        length = self.number("Q")
        if length > _LONGEST_NAME:
            raise InputError(f"a name of {length:,} bytes", where=self.where, fix=_DAMAGED)
        return self.take(length).decode("utf-8", "replace")

    def skip_text(self) -> None:
        self.skip(self.number("Q"))


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tensor as the header names it; axes from the slowest to the fastest."""

    name: str
    axes: tuple[int, ...]
    number: int
    offset: int


class _Structure:
    def __init__(self, cursor: _Cursor, where: str) -> None:
        self.cursor = cursor
        self.where = where
        self.texts: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.alignment = 32
        self.values = 0

    def read(self) -> tuple[Header, Quantised]:
        cursor = self.cursor
        cursor.skip(len(MARK))
        version = cursor.number("I")
        if version not in VERSIONS:
            raise InputError(
                f"a GGUF file of version {version}, which is not read",
                where=self.where,
                fix="convert it again with a newer program; versions 2 and 3 are read",
            )
        tensors, entries = cursor.number("Q"), cursor.number("Q")
        self._check_amount(tensors, MAX_TENSORS, "tensor")
        self._check_amount(entries, _MOST_ENTRIES, "entry", "entries")
        for _ in range(entries):
            self._entry()
        if self.alignment < 1 or self.alignment > _LONGEST_NAME:
            raise InputError(f"an alignment of {self.alignment:,} bytes", where=self.where, fix=_DAMAGED)
        found = [self._tensor() for _ in range(tensors)]
        return self._located(found, cursor.at + -cursor.at % self.alignment)

    def _check_amount(self, count: int, most: int, *what: str) -> None:
        if count > most:
            raise too_many(counted(count, *what), f"{most:,}", self.where)

    def _entry(self) -> None:
        key, kind = self.cursor.text(), self.cursor.number("I")
        if kind == _TEXT and key in KEPT:
            self.texts[key] = self.cursor.text()
        elif kind == _UINT32 and key == "general.alignment":
            self.alignment = self.cursor.number("I")
        elif kind == _LIST and key.startswith(SHAPE):
            self._shape(key)
        else:
            self._skip_value(kind, 0)

    def _shape(self, key: str) -> None:
        kind, count = self.cursor.number("I"), self.cursor.number("Q")
        if kind != _INT32 or not 0 < count <= _MOST_AXES:
            raise InputError("not a shape", where=f"{self.where}, entry '{key}'", fix=_DAMAGED)
        sizes = tuple(self.cursor.number("i") for _ in range(count))
        if min(sizes) < 0:
            raise InputError("not a shape", where=f"{self.where}, entry '{key}'", fix=_DAMAGED)
        self.shapes[key.removeprefix(SHAPE)] = sizes

    def _skip_value(self, kind: int, depth: int) -> None:
        if kind in _SIZES:
            self.cursor.skip(_SIZES[kind])
        elif kind == _TEXT:
            self.cursor.skip_text()
        elif kind == _LIST and depth < 2:
            inner, count = self.cursor.number("I"), self.cursor.number("Q")
            if inner in _SIZES:
                self.cursor.skip(count * _SIZES[inner])
                return
            self.values += count
            self._check_amount(self.values, _MOST_VALUES, "value")
            for _ in range(count):
                self._skip_value(inner, depth + 1)
        else:
            raise InputError(f"an entry of the unknown type {kind}", where=self.where, fix=_DAMAGED)

    def _tensor(self) -> _Entry:
        name, axes = self.cursor.text(), self.cursor.number("I")
        if axes > _MOST_AXES:
            raise InputError(f"{axes} axes", where=f"{self.where}, tensor '{name}'", fix=_DAMAGED)
        shape = tuple(self.cursor.number("Q") for _ in range(axes))[::-1]
        return _Entry(name, shape, self.cursor.number("I"), self.cursor.number("Q"))

    def _located(self, entries: list[_Entry], start: int) -> tuple[Header, Quantised]:
        stored, read, codings = {}, {}, {}
        for entry in sorted(entries, key=lambda one: (one.offset, one.name)):
            raw, info, coding = self._place(entry, start)
            if entry.name in stored:
                raise self._fault(entry, "the header names it twice")
            stored[entry.name], read[entry.name] = raw, info
            if coding is not None:
                codings[entry.name] = coding
        end = 0
        for raw in stored.values():
            if raw.begin < end:
                raise InputError(
                    "its data overlaps the tensor before it",
                    where=f"{self.where}, tensor '{raw.name}'",
                    fix=_DAMAGED,
                )
            end = raw.end
        texts, size = MappingProxyType(self.texts), self.cursor.size
        header = Header(MappingProxyType(stored), texts, start, size)
        return header, Quantised(Header(MappingProxyType(read), texts, start, size), codings)

    def _place(self, entry: _Entry, start: int) -> tuple[TensorInfo, TensorInfo, Coding | None]:
        """A tensor as it is stored, as it is read, and how."""
        numel = prod(entry.axes)
        if prod(filter(None, entry.axes)) >= _SIZE_LIMIT:
            raise self._fault(entry, f"shape {list(entry.axes)} is beyond any size")
        shape = self.shapes.get(entry.name, entry.axes)
        if prod(shape) != numel:
            raise self._fault(entry, f"its shape {list(shape)} does not fit {list(entry.axes)}")
        begin, blocks = entry.offset, BLOCKS.get(entry.number)
        if entry.number in PLAIN:
            dtype = PLAIN[entry.number]
            info = TensorInfo(entry.name, dtype, shape, begin, begin + numel * DTYPES[dtype].bits // 8)
            self._check_within(entry, info.end, start)
            return info, info, None
        if blocks is None:
            raise self._fault(
                entry, f"its type has the number {entry.number}, which is not read",
                "take a file in Q8_0, Q4_K or another common type",
            )  # fmt: skip
        if not entry.axes or entry.axes[-1] % blocks.size:
            raise self._fault(entry, f"rows of {list(entry.axes)} are no whole blocks of {blocks.name}")
        nbytes = numel // blocks.size * blocks.nbytes
        self._check_within(entry, begin + nbytes, start)
        raw = TensorInfo(entry.name, "U8", (nbytes,), begin, begin + nbytes)
        held = Stored(f"GGUF {blocks.name}", nbytes, blocks.rounding)
        info = TensorInfo(entry.name, "F32", shape, begin, begin + 4 * numel, held)
        return raw, info, Blocks(entry.name, entry.number)

    def _check_within(self, entry: _Entry, end: int, start: int) -> None:
        if start + end > self.cursor.size:
            raise self._fault(
                entry, f"truncated: it ends at byte {start + end:,}, the file has {self.cursor.size:,}",
                "download or copy the file again",
            )  # fmt: skip

    def _fault(self, entry: _Entry, what: str, fix: str = _DAMAGED) -> InputError:
        return InputError(what, where=f"{self.where}, tensor '{entry.name}'", fix=fix)
