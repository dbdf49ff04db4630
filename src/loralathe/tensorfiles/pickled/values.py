"""What a pickle's names and tensors become: plain descriptions, nothing that acts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class Fault(ValueError):  # noqa: N818 -- like `_FaultError` of headers, but of the room
    """What is wrong with a pickle; the reader adds the file. `at` is a byte of the stream, if known."""

    def __init__(self, what: str, fix: str | None = None, *, at: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.at = at


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of `count` elements that tensors look into. dtype None: untyped, `count` is bytes."""

    key: str
    dtype: str | None
    count: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor: elements `offset + Σ index·stride` of a storage. stride and offset in elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Opaque:
    """Something of no interest to us (a callback, a random state): takes anything, does nothing."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


Call = Callable[[tuple[object, ...]], object]


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the file mentions, and our stand-in for calling it."""

    name: str
    call: Call


@dataclass(frozen=True, slots=True)
class StorageType:
    """`torch.HalfStorage` and the like; None is torch.storage.UntypedStorage."""

    dtype: str | None


@dataclass(frozen=True, slots=True)
class DTypeName:
    """`torch.float16` as a value; `dtype` None where safetensors has no such type."""

    name: str
    dtype: str | None


def text_of(data: bytes) -> str:
    """UTF-8; Fault when it is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault("a text that is not UTF-8") from None


def old_text(data: bytes) -> str:
    """Texts of Python 2, which had no encoding."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
