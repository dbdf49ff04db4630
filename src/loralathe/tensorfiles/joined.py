"""Several files that are read as one: the shards of a network, and the networks of a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from loralathe.errors import InputError
from loralathe.tensorfiles.folders import FolderPart
from loralathe.tensorfiles.header import MAX_TENSORS, Header, TensorInfo, too_many
from loralathe.tensorfiles.reader import TensorFile

_AGAIN = "download or copy the folder again"


class JoinedFile(TensorFile):
    """The tensors of several open files; names of a part that has one begin with it and a dot.

    path is what the person gave: the folder, or the index. Of metadata, each entry is of the first file that
    has it. Closing it closes all files.
    """

    def __init__(self, path: Path, parts: Sequence[FolderPart]) -> None:
        self.path = path
        status = os.stat(path)
        self.identity = (status.st_dev, status.st_ino)
        with ExitStack() as stack:
            self._owners: dict[str, tuple[TensorFile, str]] = {}
            opened: list[tuple[str, TensorFile]] = []
            for part in parts:
                files = [stack.enter_context(TensorFile(file)) for file in part.files]
                _check_index(part, files)
                opened += [(f"{part.name}." if part.name else "", file) for file in files]
            self._files = tuple(file for _, file in opened)
            self.files = tuple(file.path for file in self._files)
            formats = {file.format for file in self._files}
            self.format = "pickle" if "pickle" in formats else "safetensors"
            self.header = _joined(str(path), opened, self._owners)
            self.stored = _joined(str(path), opened, {}, stored=True)
            self.scales = tuple(start + name for start, file in opened for name in file.scales)
            self.unused = tuple(start + name for start, file in opened for name in file.unused)
            self.left_out = tuple(dict.fromkeys(name for file in self._files for name in file.left_out))
            self.lost = sum(file.lost for file in self._files)
            self._stack = stack.pop_all()

    @property
    def is_quantised(self) -> bool:
        return any(file.is_quantised for file in self._files)

    def fileno(self) -> int:
        raise ValueError(f"{self.path} is several files")

    def close(self) -> None:
        self._stack.close()

    def require_unchanged(self) -> None:
        for file in self._files:
            file.require_unchanged()

    def readinto(self, info: TensorInfo, buffer: memoryview, start: int = 0) -> None:
        file, name = self._owners[info.name]
        file.readinto(file.header.tensors[name], buffer, start)

    def place_of(self, info: TensorInfo) -> tuple[int, int] | None:
        file, name = self._owners[info.name]
        return file.place_of(file.header.tensors[name])


def _check_index(part: FolderPart, files: Sequence[TensorFile]) -> None:
    """InputError for a tensor that the index promises and its shard does not hold."""
    by_name = {file.path.name: file for file in files}
    for name, file in part.index.items():
        held = by_name[file].stored.tensors
        if name not in held:
            raise InputError(
                "the index names a tensor that its shard does not hold",
                where=f"{part.where}: {name} in {file}",
                fix=_AGAIN,
            )


def _joined(
    path: str,
    opened: Sequence[tuple[str, TensorFile]],
    owners: dict[str, tuple[TensorFile, str]],
    *,
    stored: bool = False,
) -> Header:
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for start, file in opened:
        header = file.stored if stored else file.header
        for name, info in header.tensors.items():
            full = start + name
            if full in owners or full in tensors:
                other = owners[full][0].path.name if full in owners else path
                raise InputError(
                    "two shards hold one tensor",
                    where=f"{path}: {full} in {other} and {file.path.name}",
                    fix="shards of two models lie in one folder; get each in a folder of its own",
                )
            owners[full] = (file, name)
            tensors[full] = replace(info, name=full, begin=0, end=info.nbytes)
        metadata = {**header.metadata, **metadata}
        if len(tensors) > MAX_TENSORS:
            raise too_many(f"{len(tensors):,} tensors", f"{MAX_TENSORS:,}", path)
    size = sum(file.stored.file_size for _, file in opened)
    return Header(MappingProxyType(tensors), MappingProxyType(metadata), 0, size)
