"""Tensors in memory, read and named like a file: a path that carries them, opened by `open_tensorfile`."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loralathe.errors import InputError
from loralathe.tensorfiles.dtypes import from_torch_dtype, tensor_bytes
from loralathe.tensorfiles.header import Header, TensorInfo

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    _Path = Path
else:  # before Python 3.12 only the system's own kind of path can be extended
    _Path = type(Path())


_MAPPING = "give a mapping of names to torch tensors or numpy arrays"


class MemoryPath(_Path):
    """The place of tensors in memory: goes wherever a path goes; nothing on disk has its name."""

    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]


def in_memory(
    tensors: Mapping[str, Any], name: str = "tensors", metadata: Mapping[str, str] | None = None
) -> MemoryPath:
    """A state dict as an input: name → torch tensor or numpy array. They are read when the work needs them.

    name: what formulas, messages and records call it;  metadata: as in a file's header.
    Raises InputError for a value of another type, a tensor without numbers, and a name that is not text.
    """
    path = MemoryPath(f"<{name} in memory>")
    path.tensors = {key: _as_tensor(key, value) for key, value in tensors.items()}
    path.metadata = metadata or {}
    return path


def _as_tensor(key: object, value: object) -> torch.Tensor:
    import numpy as np
    import torch

    where = f"tensor '{key}' in memory"
    if not isinstance(key, str):
        raise InputError(f"a tensor's name is of the type {type(key).__name__}", where=where, fix=_MAPPING)
    if isinstance(value, np.ndarray):
        value = _from_numpy(value, where)
    if not isinstance(value, torch.Tensor):
        raise InputError(f"a {type(value).__name__} is not a tensor", where=where, fix=_MAPPING)
    if value.is_meta:
        fix = "load the model without offloading its weights"
        raise InputError("the tensor has a shape, but no numbers", where=where, fix=fix)
    if value.layout != torch.strided:
        raise InputError("a sparse tensor is not read", where=where, fix="give its to_dense()")
    try:
        from_torch_dtype(value.dtype)
    except InputError as error:
        raise InputError(error.what, where=where, fix=error.fix) from None
    return value


def _from_numpy(array: NDArray[Any], where: str) -> torch.Tensor:
    import numpy as np
    import torch

    native = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
    try:
        with warnings.catch_warnings():  # torch warns of arrays that must not be written; this one is read
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(native)
    except TypeError:
        raise InputError(f"numbers of the type {array.dtype} are not read", where=where) from None


def header_of(path: MemoryPath) -> Header:
    """The header that a file of these tensors would have; nothing lies at its offsets."""
    begin, infos = 0, {}
    for name, tensor in path.tensors.items():
        end = begin + tensor.numel() * tensor.element_size()
        infos[name] = TensorInfo(name, from_torch_dtype(tensor.dtype), tuple(tensor.shape), begin, end)
        begin = end
    return Header(infos, path.metadata, 0, begin)


def read_memory(path: MemoryPath, name: str, buffer: memoryview, start: int) -> None:
    """Fill `buffer` with bytes of a tensor, wherever it lies; of one on a GPU only those rows are fetched."""
    tensor = path.tensors[name]
    rows = tensor if tensor.ndim else tensor.reshape(1)
    size = tensor.numel() * tensor.element_size() // len(rows)
    first, stop = start // size, -(-(start + buffer.nbytes) // size)
    data = tensor_bytes(rows[first:stop].detach().cpu())
    buffer.cast("B")[:] = data[start - first * size :][: buffer.nbytes]


def digest_of(path: MemoryPath) -> str:
    """SHA-256 (64 hex digits) of names, dtypes, shapes and bytes: the same tensors, the same digest.

    Every byte is read once, at a gigabyte a second or more.
    """
    digest = hashlib.sha256()
    for name, info in sorted(header_of(path).tensors.items()):
        digest.update(f"{name}\0{info.dtype}\0{info.shape}\0".encode())
        digest.update(tensor_bytes(path.tensors[name].detach().cpu()))
    return digest.hexdigest()
