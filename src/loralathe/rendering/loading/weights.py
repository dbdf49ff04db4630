"""Where weights come from: one safetensors file, or tensors held in memory, behind one small face."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import torch

from loralathe.families import in_original_layout
from loralathe.tensorfiles import open_tensorfile


class Shaped(Protocol):
    """What the header tells of a tensor."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class Weights(Protocol):
    """Named tensors. `tensors` and `metadata` are a header; `read` fetches one tensor."""

    @property
    def name(self) -> str: ...
    @property
    def tensors(self) -> Mapping[str, Shaped]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    def read(self, key: str) -> torch.Tensor: ...
    def __enter__(self) -> Weights: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileWeights:
    """A model file or shards, in the original layout, open while in the `with` block.

    `on_read` is told the bytes of every tensor read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = in_original_layout(open_tensorfile(path))
        self.name = str(path)
        self.on_read: Callable[[int], None] = lambda count: None

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        return sum(info.nbytes for info in self._file.header.tensors.values())

    @property
    def tensors(self) -> Mapping[str, Shaped]:
        return self._file.header.tensors

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._file.header.metadata

    def read(self, key: str) -> torch.Tensor:
        tensor = self._file.read(key)
        self.on_read(tensor.nbytes)
        return tensor

    def __enter__(self) -> FileWeights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._file.require_unchanged()
        finally:
            self._file.close()


@dataclass(frozen=True)
class MemoryWeights:
    """Tensors that a recipe made; they are read, never altered."""

    name: str
    held: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]

    @property
    def tensors(self) -> Mapping[str, Shaped]:
        return {key: _Shape(tuple(tensor.shape)) for key, tensor in self.held.items()}

    def read(self, key: str) -> torch.Tensor:
        return self.held[key]

    def __enter__(self) -> MemoryWeights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


@dataclass(frozen=True, slots=True)
class _Shape:
    shape: tuple[int, ...]


def read_under(weights: Weights, prefixes: Iterable[str], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All tensors whose key starts with one of `prefixes`, floats cast to `dtype`.

    Tensors of one dtype are not copied, so a model in fp32 made from weights in memory shares them.
    """
    starts = tuple(prefixes)
    found = {}
    for key in weights.tensors:
        if key.startswith(starts):
            tensor = weights.read(key)
            found[key] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return found
