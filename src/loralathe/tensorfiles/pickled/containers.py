"""The two ways in which torch.save puts a pickle and the bytes of tensors into one file.

Since torch 1.6 it is a zip archive: `ROOT/data.pkl` is the pickle, `ROOT/data/KEY` the bytes of one storage,
not compressed, so that a tensor is a range of the file. Python's `zipfile` reads the archive's directory;
what it claims is checked here against the file before any byte is used.

Older files are five pickles one after the other, then the storages, each behind its length (torch.
serialization._legacy_save): magic number, protocol version, facts about the machine, the object, the keys of
the storages; then for each key the number of elements in 8 bytes and the elements, all little-endian.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from loralathe.tensorfiles.dtypes import DTYPES
from loralathe.tensorfiles.pickled.known_names import Fault, Storage
from loralathe.tensorfiles.pickled.machine import Machine, Truncated
from loralathe.tensorfiles.positional import read_at

MAX_DIRECTORY = 8 << 20
"""The largest directory of an archive that is read: 80,000 storages; a checkpoint has about 3,000."""
MAX_MEMORY = 64 << 20
"""The largest pickle that is read; that of a 7 GB model takes 0.4 MB."""
AGAIN = "download or copy the file again; it is damaged or was written by a faulty program"
REPACK = "load it with torch.load(weights_only=True) and save it again; torch.save does not compress"
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED, _UTF8 = 1, 0x800
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError,
    RuntimeError, LookupError,
)  # fmt: skip
"""All that `zipfile` raises for damaged archives."""

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_FIRST_LOOK = 1 << 20
_NOT_TORCH = "a pickle that torch.save did not write"
_ADVICE = (
    "get the safetensors version, or load it with torch.load(weights_only=True) and save its state_dict() "
    "with torch.save"
)
_TRUNCATED = "truncated: the file ends before its tensors do"


@dataclass(frozen=True)
class Saved:
    """The object in a file of torch.save.

    tensors: how many tensors its pickle makes;  place: (first byte in the file, bytes) of a storage;
    swapped: whether the numbers are big-endian.
    """

    value: object
    tensors: int
    place: Callable[[Storage], tuple[int, int]]
    swapped: bool = False


# Zip archives


def read_zip(fd: int, size: int, where: str) -> Saved:
    """The object in a zip archive of `size` bytes; Fault when it is damaged or not of torch.save."""
    archive = _Archive(fd, size, where)
    root = _root(archive.entries)
    machine = Machine(archive.read(f"{root}/data.pkl"))
    value, _ = machine.run()
    order = f"{root}/byteorder"
    swapped = order in archive.entries and archive.read(order) == b"big"
    places: dict[str, tuple[int, int]] = {}

    def place(storage: Storage) -> tuple[int, int]:
        if storage.key not in places:
            places[storage.key] = archive.stored(f"{root}/data/{storage.key}")
        return places[storage.key]

    return Saved(value, machine.tensors, place, swapped)


def _root(entries: Iterable[str]) -> str:
    """The folder that everything is in; torch names it after the file as it was called then."""
    names = set(entries)
    roots = [name.rpartition("/")[0] for name in names if name.endswith("/data.pkl")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) != 1:
        some = ", ".join(list(entries)[:3]) or "nothing"
        raise Fault(
            f"a zip archive, but not one of torch.save: it holds {some}", "unpack it; the model may be inside"
        )
    if f"{roots[0]}/constants.pkl" in names:
        raise Fault("a TorchScript program, not a model's weights", "get the weights as a safetensors file")
    return roots[0]


class _Archive:
    """The entries of a zip archive by name, checked: none is encrypted, overlaps another or has its name."""

    def __init__(self, fd: int, size: int, where: str) -> None:
        self._file = _Window(fd, size, where)
        try:
            self._zip = zipfile.ZipFile(self._file)
        except Fault:
            raise
        except _ZIP_ERRORS as error:
            raise Fault(
                f"truncated or damaged: the zip archive has no sound directory ({error})", AGAIN
            ) from None
        self._file.most = MAX_MEMORY
        infos = sorted(self._zip.infolist(), key=lambda info: info.header_offset)
        self.entries: Mapping[str, zipfile.ZipInfo] = {info.filename: info for info in infos}
        if len(self.entries) != len(infos):
            raise Fault("the zip archive has two entries of one name", AGAIN)
        ends = [*(info.header_offset for info in infos[1:]), self._zip.start_dir]
        self._ends = {info.filename: end for info, end in zip(infos, ends, strict=False)}
        for info in infos:
            _check_entry(info)
            if info.header_offset + _LOCAL.size + info.compress_size > self._ends[info.filename]:
                raise Fault(f"the entry '{info.filename}' reaches beyond its place in the archive", AGAIN)

    def stored(self, name: str) -> tuple[int, int]:
        """(first byte in the file, bytes) of an entry that is not compressed."""
        info = self.entries.get(name)
        if info is None:
            raise Fault(f"the data of a tensor is missing: there is no entry '{name}'", AGAIN)
        if info.compress_type != zipfile.ZIP_STORED:
            raise Fault(f"the entry '{name}' is compressed", REPACK)
        if info.compress_size != info.file_size:
            raise Fault(f"the entry '{name}' has two sizes", AGAIN)
        start = info.header_offset + self._header_size(info)
        if start + info.file_size > self._ends[name]:
            raise Fault(f"the entry '{name}' reaches beyond its place in the archive", AGAIN)
        return start, info.file_size

    def _header_size(self, info: zipfile.ZipInfo) -> int:
        """Bytes of the header in front of an entry: its extra field may differ from the directory's."""
        encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
        name = info.orig_filename.encode(encoding)
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL.size + len(name))
        if len(header) == _LOCAL.size + len(name):
            mark, *_, name_length, extra_length = _LOCAL.unpack_from(header)
            if mark == b"PK\x03\x04" and name_length == len(name) and header.endswith(name):
                return _LOCAL.size + int(name_length) + int(extra_length)
        raise Fault(f"the entry '{info.filename}' is not where the directory says", AGAIN)

    def read(self, name: str) -> bytes:
        """A small entry, unpacked and checked against its checksum, where it has one."""
        info = self.entries[name]
        if info.file_size > MAX_MEMORY:
            raise Fault(f"the entry '{name}' would be {info.file_size:,} bytes", AGAIN)
        if not info.CRC and info.compress_type == zipfile.ZIP_STORED:  # torch can be told to compute none
            self._file.seek(self.stored(name)[0])
            return self._file.read(info.file_size)
        try:
            with self._zip.open(info) as entry:
                data = entry.read(info.file_size)
        except _ZIP_ERRORS:
            data = b""
        if len(data) != info.file_size:
            raise Fault(f"the entry '{name}' cannot be unpacked: its checksum or its length is wrong", AGAIN)
        return data


def _check_entry(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise Fault(f"the entry '{info.filename}' is encrypted", "unpack the archive with its password first")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Fault(
            f"the entry '{info.filename}' is compressed by a method that is not supported "
            f"({info.compress_type})",
            REPACK,
        )


class _Window:
    """A file descriptor as `zipfile` reads it: by position, and never more than `most` bytes at once."""

    def __init__(self, fd: int, size: int, where: str) -> None:
        self._fd, self._size, self._where = fd, size, where
        self._at = 0
        self.most = MAX_DIRECTORY

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a place before the file")
        self._at = base + offset
        return self._at

    def read(self, count: int = -1, /) -> bytes:
        rest = max(self._size - self._at, 0)
        count = rest if count < 0 else min(count, rest)
        if count > self.most:
            raise Fault(f"{count:,} bytes of a zip archive's structure are too many to read", AGAIN)
        data = _read_bytes(self._fd, self._at, count, self._where)
        self._at += count
        return data


# Files of torch before 1.6


def read_legacy(fd: int, size: int, where: str) -> Saved:
    """The object in a file of five pickles; Fault when torch.save did not write it or it is damaged."""
    values, machine, at = _pickles(fd, size, where)
    _, protocol, system, value, keys = values
    if protocol != PROTOCOL or not isinstance(system, dict) or not isinstance(keys, list):
        raise Fault(_NOT_TORCH, _ADVICE)
    places = _places(fd, size, where, machine, keys, at)
    return Saved(value, machine.tensors, lambda storage: places[storage.key])


def _pickles(fd: int, size: int, where: str) -> tuple[list[object], Machine, int]:
    """The five values, the machine that read the fourth, and where the storages begin."""
    look = min(size, _FIRST_LOOK)
    while True:
        data = _read_bytes(fd, 0, look, where)
        try:
            return _values(data)
        except Truncated:
            # The length of the pickles is known only at their end.
            if look == size or look >= MAX_MEMORY:
                raise
            look = min(size, look * 8)


def _values(data: bytes) -> tuple[list[object], Machine, int]:
    values: list[object] = []
    at = 0
    holder = Machine(data)
    for number in range(5):
        machine = Machine(data, at)
        value, at = machine.run()
        if number == 0 and value != MAGIC:
            raise Fault(_NOT_TORCH, _ADVICE)
        holder = machine if number == 3 else holder
        values.append(value)
    return values, holder, at


def _places(
    fd: int, size: int, where: str, machine: Machine, keys: list[object], at: int
) -> dict[str, tuple[int, int]]:
    """(first byte, bytes) of each storage by key."""
    found: dict[str, tuple[int, int]] = {}
    for key in keys:
        storage = machine.storages.get(key) if isinstance(key, str) else None
        if storage is None:
            raise Fault("the list of storages names one that no tensor uses", AGAIN)
        found[storage.key] = _place(fd, size, where, storage, at)
        at = sum(found[storage.key])
    if missing := machine.storages.keys() - found.keys():
        raise Fault(f"the data of {len(missing)} storages is missing", AGAIN)
    return found


def _place(fd: int, size: int, where: str, storage: Storage, at: int) -> tuple[int, int]:
    if at + 8 > size:
        raise Fault(_TRUNCATED, "download or copy the file again")
    count = int.from_bytes(_read_bytes(fd, at, 8, where), "little")
    if count != storage.count:
        raise Fault(f"a storage should have {storage.count:,} elements and has {count:,}", AGAIN)
    length = count * (1 if storage.dtype is None else DTYPES[storage.dtype].bits // 8)
    if at + 8 + length > size:
        raise Fault(_TRUNCATED, "download or copy the file again")
    return at + 8, length


def _read_bytes(fd: int, start: int, count: int, where: str) -> bytes:
    data = bytearray(count)
    read_at(fd, memoryview(data), start, where)
    return bytes(data)
