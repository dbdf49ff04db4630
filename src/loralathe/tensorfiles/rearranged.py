"""A file whose tensors are read under other names and in another order of rows, made of runs of its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from loralathe.tensorfiles.header import Header, TensorInfo
from loralathe.tensorfiles.reader import TensorFile


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes [start, stop) of a tensor of the file."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A tensor as runs of bytes of others, in their order."""

    shape: tuple[int, ...]
    runs: tuple[Run, ...]


class RearrangedFile(TensorFile):
    """The tensors of `file` in an arrangement; path, metadata and format stay. Closing it closes the file."""

    def __init__(self, file: TensorFile, tensors: Mapping[str, Arrangement]) -> None:
        self._inner, self._tensors = file, tensors
        self.path, self.format, self.identity = file.path, file.format, file.identity
        self.left_out, self.lost = file.left_out, file.lost
        self.stored, self.scales, self.unused = file.stored, file.scales, file.unused
        self.header = replace(file.header, tensors=MappingProxyType(_infos(file.header, tensors)))

    @property
    def is_quantised(self) -> bool:
        return self._inner.is_quantised

    def fileno(self) -> int:
        return self._inner.fileno()

    def close(self) -> None:
        self._inner.close()

    def require_unchanged(self) -> None:
        self._inner.require_unchanged()

    def readinto(self, info: TensorInfo, buffer: memoryview, start: int = 0) -> None:
        view = memoryview(buffer).cast("B") if memoryview(buffer).nbytes else memoryview(b"")
        if not 0 <= start <= start + view.nbytes <= info.nbytes:
            raise ValueError(f"{info.name}: bytes [{start}, {start + view.nbytes}) of {info.nbytes}")
        first = 0  # of the run, in the tensor
        for run in self._tensors[info.name].runs:
            last = first + run.stop - run.start
            begin, end = max(first, start), min(last, start + view.nbytes)
            if begin < end:
                own = self._inner.info(run.name)
                self._inner.readinto(own, view[begin - start : end - start], run.start + begin - first)
            first = last

    def place_of(self, info: TensorInfo) -> int | None:
        runs = self._tensors[info.name].runs
        place = self._inner.place_of(self._inner.info(runs[0].name)) if len(runs) == 1 else None
        return None if place is None else place + runs[0].start


def _infos(header: Header, tensors: Mapping[str, Arrangement]) -> dict[str, TensorInfo]:
    found = {}
    for name, made in tensors.items():
        parts = [header.tensors[run.name] for run in made.runs]
        size = sum(run.stop - run.start for run in made.runs)
        found[name] = TensorInfo(name, parts[0].dtype, made.shape, 0, size, parts[0].stored)
    return found
