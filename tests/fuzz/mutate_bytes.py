"""Files that came to harm: cut short, flipped bits, overwritten, put together wrongly, or no files at all."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from fuzz.case import Fifo, Folder, Link, Thing


def harmed(data: bytes, draw: Random, places: tuple[int, ...] = ()) -> bytes:
    """`data` after an accident; `places` are offsets where something begins or ends."""
    return draw.choice(_HARMS)(data, draw, places)


def _cut(data: bytes, draw: Random, places: tuple[int, ...]) -> bytes:
    near = draw.choice((0, 1, 7, 8, 9, *places, len(data))) + draw.choice((-8, -1, 0, 1, 8))
    return data[: max(0, near) if draw.random() < 0.7 else draw.randrange(len(data) + 1)]


def _flip(data: bytes, draw: Random, places: tuple[int, ...]) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 10, 100))):
        # Half of the flips hit the start, where structure is dense.
        at = draw.randrange(min(len(data), 4096) if draw.random() < 0.5 else len(data))
        changed[at] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, draw: Random, places: tuple[int, ...]) -> bytes:
    at = draw.randrange(len(data))
    what = draw.choice((b"\0" * 64, b"\xff" * 64, b"\xff\x7c" * 32, draw.randbytes(64), b"\0" * 4096))
    return (data[:at] + what + data[at + len(what) :])[: len(data)]


def _remove(data: bytes, draw: Random, places: tuple[int, ...]) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + data[at + draw.choice((1, 2, 64, 4096)) :]


def _insert(data: bytes, draw: Random, places: tuple[int, ...]) -> bytes:
    at = draw.choice((0, draw.randrange(len(data)), len(data)))
    return (
        data[:at]
        + draw.choice((b"\0", b"\n", b"\r\n", b"\xef\xbb\xbf", data[:100], b"\0" * 5000))
        + data[at:]
    )


def _foreign(data: bytes, draw: Random, places: tuple[int, ...]) -> bytes:
    """Something else under the name."""
    return draw.choice((
        b"", b"\0", b"\0" * 8, b"\0" * 1000, b"\x02" + b"\0" * 7 + b"{}", b"{}", b"<html>",
        b"GGUF" + b"\0" * 60, b"GGUF\3" + b"\0" * 60,
        b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04" + draw.randbytes(100),
        b"\x80\x02" + draw.randbytes(50),
        draw.randbytes(draw.choice((7, 9, 100, 5000))), "模型".encode() * 40,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
        data[::-1], data + data,
    ))  # fmt: skip


def no_file(name: str, draw: Random) -> Thing:
    """What a path may lead to instead of a file."""
    return draw.choice((
        Folder(), Fifo(), Link(name), Link("nowhere.safetensors"), Link("/dev/zero"), Link("/dev/null"),
        Link("/dev/full"), Link("/"),
        Link("."), Link("/proc/self/mem"), Link("/dev/tty"), b"",
    ))  # fmt: skip


_HARMS: tuple[Callable[[bytes, Random, tuple[int, ...]], bytes], ...] = (
    _cut, _cut, _flip, _flip, _overwrite, _remove, _insert, _foreign,
)  # fmt: skip
