"""Writes a folder of networks as diffusers keeps them, each in files of a largest size, with an index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.tensorfiles.atomic import StagedFolder, stage_bytes
from loralathe.tensorfiles.header import TensorSpec
from loralathe.tensorfiles.outputs import check_folder
from loralathe.tensorfiles.reader import TensorFile
from loralathe.tensorfiles.writers import CheckpointWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer

FORMAT = {"format": "pt"}
"""Metadata that transformers asks every file for."""


@dataclass(frozen=True)
class NetworkPlan:
    """A network of the folder. stem: how its files are called;  specs: its tensors, in order."""

    folder: str
    stem: str
    specs: Sequence[TensorSpec] = field(hash=False)


@dataclass
class _Shards:
    """The files of a network."""

    plan: NetworkPlan
    names: list[str]
    owners: dict[str, int]
    writers: list[CheckpointWriter]


class FolderWriter(AbstractContextManager["FolderWriter"]):
    """A folder under construction; any thread may `write` and `copy_from`, in any order.

    networks: what it holds;  metadata: of the first file of the first network, see `CheckpointWriter`.
    largest:  bytes of tensors in a file; a tensor that is larger has a file of its own.

    The folder appears whole on `commit`; leaving a `with` block without it removes every trace.
    """

    def __init__(
        self,
        path: Path,
        networks: Sequence[NetworkPlan],
        metadata: Mapping[str, str],
        *,
        largest: int,
        inputs: Iterable[Path] = (),
    ) -> None:
        self.path = path
        check_folder(path, inputs)
        self._networks: dict[str, _Shards] = {}
        self._staged = StagedFolder(path)
        try:
            for plan in networks:
                parts = in_shards(plan.specs, largest)
                names = shard_names(plan.stem, len(parts))
                owners = {spec.name: at for at, part in enumerate(parts) for spec in part}
                found = self._networks[plan.folder] = _Shards(plan, names, owners, [])
                place = self._staged.path / plan.folder
                place.mkdir()
                for name, part in zip(names, parts, strict=True):
                    is_first = len(self._networks) == 1 and not found.writers
                    found.writers.append(
                        CheckpointWriter(place / name, part, metadata if is_first else FORMAT)
                    )
        except BaseException:
            self.abort()
            raise

    def write(self, folder: str, name: str, data: Buffer, start: int = 0) -> None:
        """Put `data` at byte `start` of a tensor."""
        self._writer(folder, name).write(name, data, start)

    def copy_from(self, folder: str, name: str, source: TensorFile, source_name: str) -> None:
        """Copy a whole tensor of another file as it is."""
        self._writer(folder, name).copy_from(name, source, source_name)

    def add_file(self, name: str, data: bytes) -> None:
        """A further file, `scheduler/scheduler_config.json`."""
        place = self._staged.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        stage_bytes(place, data, replace=False).commit()

    def commit(self, metadata: Mapping[str, str]) -> Path:
        """Check that every byte was written, make all durable, give the folder its name; returns the path."""
        next(iter(self._networks.values())).writers[0].set_metadata(metadata)
        for folder, shards in self._networks.items():
            for writer in shards.writers:
                writer.commit()
            if len(shards.names) > 1:
                text = json.dumps(_index(shards), indent=2) + "\n"
                self.add_file(f"{folder}/{shards.plan.stem}.safetensors.index.json", text.encode())
        self._staged.commit()
        return self.path

    def abort(self) -> None:
        """Remove every trace; does nothing after `commit`."""
        for shards in self._networks.values():
            for writer in shards.writers:
                writer.abort()
        self._staged.discard()

    def __exit__(self, *_: object) -> None:
        self.abort()

    def _writer(self, folder: str, name: str) -> CheckpointWriter:
        shards = self._networks[folder]
        return shards.writers[shards.owners[name]]


def in_shards(specs: Sequence[TensorSpec], largest: int) -> list[list[TensorSpec]]:
    """Tensors in their order, as many in a file as it may hold."""
    parts: list[list[TensorSpec]] = [[]]
    size = 0
    for spec in specs:
        if parts[-1] and size + spec.nbytes > largest:
            parts.append([])
            size = 0
        parts[-1].append(spec)
        size += spec.nbytes
    return parts


def shard_names(stem: str, count: int) -> list[str]:
    """As diffusers and transformers name them."""
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _index(shards: _Shards) -> dict[str, object]:
    size = sum(spec.nbytes for spec in shards.plan.specs)
    places = {name: shards.names[at] for name, at in sorted(shards.owners.items())}
    return {"metadata": {"total_size": size}, "weight_map": places}
