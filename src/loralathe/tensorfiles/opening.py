"""The one way models are opened: a file, shards, a folder, or tensors in memory."""

from __future__ import annotations

import os
from pathlib import Path

from loralathe.tensorfiles.file_names import stored_path
from loralathe.tensorfiles.folders import adapter_in, folder_parts, is_folder_model
from loralathe.tensorfiles.header import Header
from loralathe.tensorfiles.joined import JoinedFile
from loralathe.tensorfiles.memory import MemoryPath
from loralathe.tensorfiles.reader import MemoryTensorFile, TensorFile


def read_header(path: str | os.PathLike[str]) -> Header:
    """The checked header of a model file; InputError tells why another file is refused."""
    with open_tensorfile(path) as file:
        return file.header


def open_tensorfile(path: str | os.PathLike[str], *, embedding: bool = False) -> TensorFile:
    """Open a model for reading; errors as `read_header`. Close it, or use it in a `with` block.

    path: a file, an index of shards, or a folder (see `folders`).
    embedding: a textual-inversion embedding is meant, whose pickle keeps its vectors elsewhere.
    """
    if isinstance(path, MemoryPath):
        return MemoryTensorFile(path)
    place = stored_path(Path(path))
    if is_folder_model(place):
        if place.is_dir() and (adapter := adapter_in(place)):
            return TensorFile(adapter)
        if parts := folder_parts(place):
            return JoinedFile(place, parts)
    return TensorFile(path, embedding=embedding)
