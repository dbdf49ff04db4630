"""Takes the tensors of a checkpoint and puts their bytes where a folder of diffusers has them."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from torch import Tensor

from loralathe.engine.folder_output import FolderOutput
from loralathe.engine.outputs import WeightsOutput
from loralathe.tensorfiles import (
    DTYPES,
    FolderWriter,
    TensorFile,
    TensorSpec,
    read_small,
    tensor_bytes,
    transposed,
)

_PIECE = 4 << 20
"""Bytes that are copied at once of a tensor that is cut."""


@dataclass
class _Place:
    """Bytes [start, stop) of a tensor of the original layout stand at `at` of one in the folder.

    whole: they are all of both;  flipped: its transpose stands there, gathered in `held` till it is whole.
    """

    folder: str
    name: str
    at: int
    start: int
    stop: int
    whole: bool
    flipped: bool
    held: bytearray = field(default_factory=bytearray)
    filled: int = 0


class FolderWeights:
    """A checkpoint as a folder of diffusers; see `FileWeights`."""

    tensors: Mapping[str, Tensor] = MappingProxyType({})

    def __init__(
        self, output: WeightsOutput, folder: FolderOutput, metadata: Mapping[str, str], inputs: list[Path]
    ) -> None:
        self._specs = {tensor.spec.name: tensor.spec for tensor in output.tensors}
        self._places: dict[str, list[_Place]] = defaultdict(list)
        for network in folder.layout.networks:
            for name, made in network.tensors.items():
                at = 0
                for run in made.runs:
                    size = run.stop - run.start
                    whole = len(made.runs) == 1 and size == self._specs[run.name].nbytes
                    place = _Place(
                        network.folder, name, at, run.start, run.stop, whole, made.transposed,
                    )  # fmt: skip
                    self._places[run.name].append(place)
                    at += size
        self._lock = threading.Lock()
        self._configs = {name: read_small(file, "config file") for name, file in folder.configs.items()}
        self._writer = FolderWriter(
            output.save.file, folder.networks(self._specs), metadata, largest=folder.largest, inputs=inputs
        )

    def write(self, key: str, rows: Tensor, start: int) -> None:
        self._put(key, tensor_bytes(rows), start)

    def copy(self, key: str, source: TensorFile, source_key: str) -> None:
        places = self._places[key]
        if all(place.whole and not place.flipped for place in places):
            for place in places:
                self._writer.copy_from(place.folder, place.name, source, source_key)
            return
        info = source.info(source_key)
        for start in range(0, info.nbytes, _PIECE):
            piece = memoryview(bytearray(min(_PIECE, info.nbytes - start)))
            source.readinto(info, piece, start)
            self._put(key, piece, start)

    def commit(self, metadata: Mapping[str, str]) -> Path:
        for name, data in self._configs.items():
            self._writer.add_file(name, data)
        return self._writer.commit(metadata)

    def abort(self) -> None:
        self._writer.abort()

    def _put(self, key: str, data: memoryview, start: int) -> None:
        """Bytes of a tensor of the original layout, from `start` on."""
        for place in self._places[key]:
            first, last = max(start, place.start), min(start + data.nbytes, place.stop)
            if first >= last:
                continue
            part = data[first - start : last - start]
            at = place.at + first - place.start
            if place.flipped:
                self._gather(self._specs[key], place, part, at)
            else:
                self._writer.write(place.folder, place.name, part, at)

    def _gather(self, spec: TensorSpec, place: _Place, part: memoryview, at: int) -> None:
        with self._lock:
            place.held = place.held or bytearray(spec.nbytes)
            place.held[at : at + part.nbytes] = part
            place.filled += part.nbytes
            if place.filled < spec.nbytes:
                return
        rows, columns = spec.shape
        flipped = transposed(place.held, rows, columns, DTYPES[spec.dtype].bits // 8)
        place.held = bytearray()
        self._writer.write(place.folder, place.name, flipped)
