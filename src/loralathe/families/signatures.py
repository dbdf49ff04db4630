"""Recognise a family by which tensors a file has and of what rank: never by their sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from loralathe.errors import counted


class TensorLike(Protocol):
    """What is read of a tensor: its shape."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class HeaderLike(Protocol):
    """What is read of a file: names, shapes and the metadata beside them."""

    @property
    def tensors(self) -> Mapping[str, TensorLike]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Signature:
    """Keys with the rank (number of axes) they must have, and keys that must not be there.

    prefixes: what may stand before every one of these keys; the one that fits best counts.
    """

    has: Mapping[str, int]
    lacks: tuple[str, ...] = field(default=())
    prefixes: tuple[str, ...] = ("",)

    def complaints(self, tensors: Mapping[str, TensorLike]) -> Iterator[str]:
        """One phrase for each condition the file does not meet; none means recognised."""
        prefix = max(self.prefixes, key=lambda one: self._there(one, tensors))
        for key, rank in self.has.items():
            tensor = tensors.get(prefix + key)
            if tensor is None:
                yield f"{prefix}{key} is missing"
            elif len(tensor.shape) != rank:
                yield f"{prefix}{key} has {counted(len(tensor.shape), 'axis', 'axes')}, not {rank}"
        for key in self.lacks:
            if prefix + key in tensors:
                yield f"{prefix}{key} should not be there"

    def matches(self, tensors: Mapping[str, TensorLike]) -> bool:
        return next(self.complaints(tensors), None) is None

    def share(self, tensors: Mapping[str, TensorLike]) -> float:
        """Share of the wanted keys that are there, 0 to 1."""
        return max(self._there(prefix, tensors) for prefix in self.prefixes) / len(self.has)

    def _there(self, prefix: str, tensors: Mapping[str, TensorLike]) -> int:
        return sum(prefix + key in tensors for key in self.has)
