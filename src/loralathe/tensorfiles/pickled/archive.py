"""The zip archive that torch.save writes: its directory, and where the bytes of every entry lie.

Entries are stored uncompressed, so a tensor is a range of the file. Everything the directory claims is
checked against the file's size. Format: PKWARE's APPNOTE.TXT 6.3.10, §4.3 and §4.4, zip64 included.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from loralathe.tensorfiles.pickled.values import Fault
from loralathe.tensorfiles.positional import read_at

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 0xFFFF
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 1
STORED, DEFLATED = 0, 8
MAX_DIRECTORY = 64 << 20
MAX_MEMORY = 64 << 20
"""The largest entry that is taken into memory; the structure of a 7 GB model takes 0.4 MB."""
AGAIN = "download or copy the file again; it is damaged or was written by a faulty program"
REPACK = "load it with torch.load(weights_only=True) and save it again; torch.save does not compress"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file inside. size: unpacked bytes; packed: bytes in the archive; header: where its header is."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    header: int


@dataclass(frozen=True)
class Archive:
    """A zip archive of a file descriptor; `limit` is where its directory begins."""

    fd: int
    where: str
    limit: int
    entries: Mapping[str, Entry]

    def start_of(self, entry: Entry) -> int:
        """First byte of a stored entry's data; Fault when it is compressed or does not lie in the file."""
        if entry.method != STORED:
            raise Fault(f"the entry '{entry.name}' is compressed", REPACK)
        start = self._data_start(entry)
        if entry.packed != entry.size:
            raise Fault(f"the entry '{entry.name}' has two sizes", AGAIN)
        return start

    def read(self, name: str) -> bytes:
        """A small entry, unpacked and checked against its CRC (0: torch was told to compute none)."""
        entry = self.entries[name]
        if max(entry.size, entry.packed) > MAX_MEMORY:
            raise Fault(f"the entry '{name}' would be {entry.size:,} bytes", AGAIN)
        data = self._bytes(self._data_start(entry), entry.packed)
        if entry.method == DEFLATED:
            data = _inflated(data, entry)
        if entry.crc and zlib.crc32(data) != entry.crc:
            raise Fault(f"the entry '{name}' does not have the checksum it should have", AGAIN)
        return data

    def _data_start(self, entry: Entry) -> int:
        if entry.header + _LOCAL.size > self.limit:
            raise Fault(f"the entry '{entry.name}' lies outside of the file", AGAIN)
        fields = _LOCAL.unpack(self._bytes(entry.header, _LOCAL.size))
        if fields[0] != b"PK\x03\x04":
            raise Fault(f"the entry '{entry.name}' is not where the directory says", AGAIN)
        start = entry.header + _LOCAL.size + fields[-2] + fields[-1]
        if start + entry.packed > self.limit:
            raise Fault(f"the entry '{entry.name}' reaches beyond the data", AGAIN)
        return int(start)

    def _bytes(self, start: int, count: int) -> bytes:
        return read_bytes(self.fd, start, count, self.where)


def read_bytes(fd: int, start: int, count: int, where: str) -> bytes:
    """`count` bytes of a file from `start`."""
    data = bytearray(count)
    read_at(fd, memoryview(data), start, where)
    return bytes(data)


def open_archive(fd: int, size: int, where: str) -> Archive:
    """The directory of a zip archive of `size` bytes; Fault when there is none or it is damaged."""
    count, length, start, end = _directory_place(fd, size, where)
    if length > MAX_DIRECTORY or start + length > end:
        raise Fault("the directory of the zip archive does not lie in the file", AGAIN)
    entries = list(_entries(read_bytes(fd, start, length, where)))
    if len(entries) != count:
        raise Fault(f"the zip archive should have {count:,} entries and has {len(entries):,}", AGAIN)
    named = {entry.name: entry for entry in entries}
    if len(named) != len(entries):
        raise Fault("the zip archive has two entries of one name", AGAIN)
    return Archive(fd, where, start, named)


def _directory_place(fd: int, size: int, where: str) -> tuple[int, int, int, int]:
    """(entries, bytes, first byte, first byte after) of the central directory."""
    begin = max(0, size - _END.size - _LONGEST_COMMENT)
    tail = read_bytes(fd, begin, size - begin, where)
    at = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
    if at < 0:
        raise Fault(
            "truncated: the zip archive has no end, where its directory is", "download or copy it again"
        )
    _, _, _, _, count, length, start, _ = _END.unpack_from(tail, at)
    if count < _FULL16 and length < _FULL32 and start < _FULL32:
        return count, length, start, begin + at
    return _directory_place64(fd, size, begin + at - _END64_LOCATOR.size, where)


def _directory_place64(fd: int, size: int, locator: int, where: str) -> tuple[int, int, int, int]:
    damaged = Fault("the zip64 directory of the archive is damaged", AGAIN)
    if locator < 0:
        raise damaged
    mark, _, end, _ = _END64_LOCATOR.unpack(read_bytes(fd, locator, _END64_LOCATOR.size, where))
    if mark != b"PK\x06\x07" or end + _END64.size > min(size, locator):
        raise damaged
    fields = _END64.unpack(read_bytes(fd, end, _END64.size, where))
    if fields[0] != b"PK\x06\x06":
        raise damaged
    return fields[7], fields[8], fields[9], end


def _entries(directory: bytes) -> Iterator[Entry]:
    at = 0
    while at < len(directory):
        if at + _ENTRY.size > len(directory) or directory[at : at + 4] != b"PK\x01\x02":
            raise Fault("the directory of the zip archive is damaged", AGAIN)
        fields = _ENTRY.unpack_from(directory, at)
        flags, method, crc, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
        name_length, extra_length, comment_length, header = fields[10], fields[11], fields[12], fields[16]
        at += _ENTRY.size
        name = directory[at : at + name_length].decode("utf-8", "backslashreplace")
        extra = directory[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        if at > len(directory):
            raise Fault("the directory of the zip archive is damaged", AGAIN)
        if flags & _ENCRYPTED:
            raise Fault(f"the entry '{name}' is encrypted", "unpack the archive with its password first")
        if method not in (STORED, DEFLATED):
            raise Fault(f"the entry '{name}' is compressed in a way that is not read ({method})", REPACK)
        size, packed, header = _wide((size, packed, header), extra, name)
        yield Entry(name, method, crc, packed, size, header)


def _wide(fields: tuple[int, int, int], extra: bytes, name: str) -> tuple[int, int, int]:
    """Sizes and offset, those that are full taken from the zip64 field, in this order."""
    if _FULL32 not in fields:
        return fields
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        body = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == 1:
            wide = iter(struct.unpack(f"<{len(body) // 8}Q", body[: len(body) // 8 * 8]))
            size, packed, header = (next(wide, -1) if field == _FULL32 else field for field in fields)
            if min(size, packed, header) >= 0:
                return size, packed, header
    raise Fault(f"the entry '{name}' has no size", AGAIN)


def _inflated(data: bytes, entry: Entry) -> bytes:
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than it should be is enough to see that it is too long.
        found = unpack.decompress(data, entry.size + 1)
    except zlib.error:
        found = b""
    if len(found) != entry.size:
        raise Fault(f"the entry '{entry.name}' cannot be unpacked", AGAIN)
    return found
