"""Tensors in memory, read and named like a file: a path that carries them, opened by `open_tensorfile`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loralathe.errors import InputError
from loralathe.tensorfiles.dtypes import from_torch_dtype, tensor_bytes
from loralathe.tensorfiles.header import Header, TensorInfo

if TYPE_CHECKING:
    import torch

    _Path = Path
else:  # before Python 3.12 only the system's own kind of path can be extended
    _Path = type(Path())


class MemoryPath(_Path):
    """The place of tensors in memory: goes wherever a path goes; nothing on disk has its name."""

    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]


def in_memory(
    tensors: Mapping[str, Any], name: str = "tensors", metadata: Mapping[str, str] | None = None
) -> MemoryPath:
    """A state dict as an input: name → torch tensor or numpy array. They are read when the work needs them.

    name: what formulas, messages and records call it;  metadata: as in a file's header.
    Raises InputError for a value of another type.
    """
    path = MemoryPath(f"<{name} in memory>")
    path.tensors = {key: _as_tensor(key, value) for key, value in tensors.items()}
    path.metadata = metadata or {}
    return path


def _as_tensor(key: str, value: object) -> torch.Tensor:
    import numpy as np
    import torch

    if isinstance(value, np.ndarray):
        try:
            return torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
        except TypeError:
            raise InputError(
                f"numbers of the type {value.dtype} are not read", where=f"tensor '{key}' in memory"
            ) from None
    if not isinstance(value, torch.Tensor):
        raise InputError(
            f"a {type(value).__name__} is not a tensor",
            where=f"'{key}' in memory",
            fix="give a mapping of names to torch tensors or numpy arrays",
        )
    return value


def header_of(path: MemoryPath) -> Header:
    """The header that a file of these tensors would have; nothing lies at its offsets."""
    begin, infos = 0, {}
    for name, tensor in path.tensors.items():
        end = begin + tensor.numel() * tensor.element_size()
        infos[name] = TensorInfo(name, from_torch_dtype(tensor.dtype), tuple(tensor.shape), begin, end)
        begin = end
    return Header(infos, path.metadata, 0, begin)


def read_memory(path: MemoryPath, name: str, buffer: memoryview, start: int) -> None:
    """Fill `buffer` with bytes of a tensor, wherever it lies: on a GPU it is fetched."""
    data = tensor_bytes(path.tensors[name].detach().cpu())
    buffer.cast("B")[:] = data[start : start + buffer.nbytes]


def digest_of(path: MemoryPath) -> str:
    """SHA-256 (64 hex digits) of names, dtypes, shapes and bytes: the same tensors, the same digest.

    Every byte is read once, at a gigabyte a second or more.
    """
    digest = hashlib.sha256()
    for name, info in sorted(header_of(path).tensors.items()):
        digest.update(f"{name}\0{info.dtype}\0{info.shape}\0".encode())
        digest.update(tensor_bytes(path.tensors[name].detach().cpu()))
    return digest.hexdigest()
