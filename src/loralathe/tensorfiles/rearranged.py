"""A file whose tensors are read under other names and in another order of rows, made of runs of its bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """A tensor as runs of bytes of others, in their order;  transposed: of a matrix, its transpose.

    Without runs it is empty, a mark.
    """

    shape: tuple[int, ...]
    runs: tuple[Run, ...]
    transposed: bool = False


class RearrangedFile(TensorFile):
    """The tensors of `file` in an arrangement; path, metadata and format stay. Closing it closes the file.

    left_out: what beside them is not read;  lost: tensors in that.
    """

    def __init__(
        self,
        file: TensorFile,
        tensors: Mapping[str, Arrangement],
        left_out: Sequence[str] = (),
        lost: int = 0,
    ) -> None:
        self._inner, self._tensors = file, tensors
        self.path, self.format, self.identity = file.path, file.format, file.identity
        self.files = file.files
        self.left_out, self.lost = (*file.left_out, *left_out), file.lost + lost
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
        made = self._tensors[info.name]
        if not made.transposed:
            self._read_runs(made.runs, view, start)
        elif view.nbytes:
            view[:] = self._transpose(info, made)[start : start + view.nbytes]

    def _read_runs(self, runs: Sequence[Run], view: memoryview, start: int) -> None:
        first = 0  # of the run, in the tensor
        for run in runs:
            last = first + run.stop - run.start
            begin, end = max(first, start), min(last, start + view.nbytes)
            if begin < end:
                own = self._inner.info(run.name)
                self._inner.readinto(own, view[begin - start : end - start], run.start + begin - first)
            first = last

    def _transpose(self, info: TensorInfo, made: Arrangement) -> memoryview:
        """All of a matrix: only text encoders' projections are stored so, a few megabytes."""
        whole = bytearray(info.nbytes)
        self._read_runs(made.runs, memoryview(whole), 0)
        rows, columns = info.shape
        return transposed(whole, columns, rows, info.nbytes // max(1, rows * columns))

    def place_of(self, info: TensorInfo) -> tuple[int, int] | None:
        made = self._tensors[info.name]
        if made.transposed or len(made.runs) != 1:
            return None
        (run,) = made.runs
        place = self._inner.place_of(self._inner.info(run.name))
        return None if place is None else (place[0], place[1] + run.start)


def transposed(data: bytearray, rows: int, columns: int, size: int) -> memoryview:
    """The bytes of the transpose of a matrix of elements of `size` bytes."""
    import numpy as np

    elements = np.frombuffer(data, np.uint8).reshape(rows, columns, size)
    return np.ascontiguousarray(elements.transpose(1, 0, 2)).data.cast("B")


def _infos(header: Header, tensors: Mapping[str, Arrangement]) -> dict[str, TensorInfo]:
    found = {}
    for name, made in tensors.items():
        parts = [header.tensors[run.name] for run in made.runs]
        size = sum(run.stop - run.start for run in made.runs)
        dtype, stored = (parts[0].dtype, parts[0].stored) if parts else ("F32", None)
        found[name] = TensorInfo(name, dtype, made.shape, 0, size, stored)
    return found
