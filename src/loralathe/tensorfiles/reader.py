"""A model file open for reading: a checked header and positional reads, safe from any thread.

safetensors files, GGUF files and torch.save's pickles (.ckpt, .pt, …) look the same from here on. The
file's content tells which it is, not its name. So do tensors in memory, which a `MemoryPath` carries.
Quantised weights look like F32 tensors: they are made of their codes and scales when they are read.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.errors import InputError, did_you_mean
from loralathe.tensorfiles.dtypes import to_torch_dtype
from loralathe.tensorfiles.file_names import stored_path
from loralathe.tensorfiles.gguf import MARK, read_gguf
from loralathe.tensorfiles.header import LENGTH_BYTES, Header, TensorInfo, header_length, parse_header
from loralathe.tensorfiles.input_files import check_content, is_pickle, open_regular
from loralathe.tensorfiles.memory import MemoryPath, header_of, read_memory
from loralathe.tensorfiles.pickled import Pickled, read_pickled, read_view
from loralathe.tensorfiles.positional import read_at
from loralathe.tensorfiles.quantised import Quantised, decode_into, find_quantised

if TYPE_CHECKING:
    import torch

_PEEK = 512


class TensorFile(AbstractContextManager["TensorFile"]):
    """An open safetensors, GGUF or pickle file.

    path:     as it is stored;  files: that it is read from, mostly the path.
    format:   'safetensors', 'gguf', 'pickle' or 'memory'.
    header:   checked on opening; a pickle's has no metadata. Quantised weights are in it as they are read.
    stored:   the same as the file has it, scales and codes included.
    scales:   tensors that are read with the quantised weights that they belong to.
    unused:   scales of activations, which no weight needs.
    left_out: names of other things in a pickle, such as 'optimizer_states'; they are not read.
    lost:     how many tensors are in them.
    identity: (st_dev, st_ino), equal for every name of the same file.
    """

    def __init__(self, path: str | os.PathLike[str], *, embedding: bool = False) -> None:
        self.path = stored_path(Path(path))
        self.files: tuple[Path, ...] = (self.path,)
        self._file = open_regular(self.path)
        try:
            status = os.fstat(self._file.fileno())
            self.identity = (status.st_dev, status.st_ino)
            self._opened = _stamp(status)
            self.format, found, quantised = _read_structure(
                self._file.fileno(), self.path, status.st_size, embedding=embedding
            )
            self.left_out, self.lost, self._views = found.left_out, found.lost, found.views
            self._set_header(found.header, quantised)
        except BaseException:
            self._file.close()
            raise

    def _set_header(self, stored: Header, quantised: Quantised | None = None) -> None:
        self.stored = stored
        found = quantised or find_quantised(stored, self._read_stored, str(self.path))
        self.header = found.header if found else stored
        self._codings = found.codings if found else {}
        self.scales, self.unused = (found.parts, found.unused) if found else ((), ())

    @property
    def is_quantised(self) -> bool:
        return bool(self._codings or self.scales)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def require_unchanged(self) -> None:
        """InputError when the file was written to, replaced or removed since it was opened."""
        try:
            same = _stamp(os.fstat(self.fileno())) == self._opened == _stamp(os.stat(self.path))
        except OSError:
            same = False
        if not same:
            raise InputError(
                "the file changed while it was read",
                where=str(self.path),
                fix="wait until the program that writes it is done, then run again",
            )

    def info(self, name: str) -> TensorInfo:
        """The tensor called `name`; InputError with close names when there is none."""
        found = self.header.tensors.get(name)
        if found is None:
            raise InputError(
                f"no tensor '{name}'",
                where=str(self.path),
                fix=did_you_mean(name, self.header.tensors) or None,
            )
        return found

    def readinto(self, info: TensorInfo, buffer: memoryview, start: int = 0) -> None:
        """Fill `buffer` with bytes [start, start + len(buffer)) of a tensor of this file."""
        view = memoryview(buffer)
        if not 0 <= start <= start + view.nbytes <= info.nbytes:
            raise ValueError(f"{info.name}: bytes [{start}, {start + view.nbytes}) of {info.nbytes}")
        if (coding := self._codings.get(info.name)) is not None:
            decode_into(coding, self._read_stored, view, start)
        else:
            self._read_stored(info.name, start, view)

    def _read_stored(self, name: str, start: int, view: memoryview) -> None:
        """Bytes of a tensor as it is stored."""
        info = self.stored.tensors[name]
        if not 0 <= start <= start + view.nbytes <= info.nbytes:
            raise ValueError(f"{name}: bytes [{start}, {start + view.nbytes}) of {info.nbytes}")
        where = f"{self.path}, tensor '{info.name}'"
        if info.name in self._views:
            read_view(self.fileno(), self._views[info.name], view, start, where)
        elif view.nbytes:
            read_at(self.fileno(), view.cast("B"), self.stored.data_start + info.begin + start, where)

    def place_of(self, info: TensorInfo) -> tuple[int, int] | None:
        """Descriptor of the file with a tensor of this one, and its first byte there.

        None when its bytes do not lie there in a row.
        """
        is_made = info.name in self._views or info.name in self._codings
        return None if is_made else (self.fileno(), self.header.data_start + info.begin)

    def read_bytes(self, name: str) -> bytearray:
        """The raw bytes of a tensor, little-endian, row-major; no torch needed."""
        info = self.info(name)
        data = bytearray(info.nbytes)
        self.readinto(info, memoryview(data))
        return data

    def read(self, name: str) -> torch.Tensor:
        """A tensor in its own dtype; InputError when torch does not have it (sub-byte floats)."""
        import torch

        info = self.info(name)
        dtype = _torch_dtype(info, self.path)
        # Uninitialised memory: a large tensor is not worth zeroing only to be overwritten.
        raw = torch.empty(info.nbytes, dtype=torch.uint8)
        self.readinto(info, raw.numpy().data)
        return raw.view(dtype).reshape(info.shape)


class MemoryTensorFile(TensorFile):
    """Tensors in memory that read like a file; its format is 'memory'."""

    def __init__(self, path: MemoryPath) -> None:
        self.path = self._memory = path
        self.files = ()
        self.format = "memory"
        self.left_out, self.lost, self._views = (), 0, {}
        self.identity = (-1, id(path.tensors))
        self._set_header(header_of(path))

    def fileno(self) -> int:
        raise ValueError("tensors in memory have no file descriptor")

    def close(self) -> None:
        return

    def require_unchanged(self) -> None:
        return

    def _read_stored(self, name: str, start: int, view: memoryview) -> None:
        if view.nbytes:
            read_memory(self._memory, name, view, start)

    def place_of(self, info: TensorInfo) -> None:
        return None


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What changes with a file's content; a program can set the date back, but not ctime."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_structure(
    fd: int, path: Path, size: int, *, embedding: bool
) -> tuple[str, Pickled, Quantised | None]:
    """The format of a file and what it holds; of a GGUF file, how its tensors are read."""
    where = str(path)
    start = bytearray(min(size, _PEEK))
    read_at(fd, memoryview(start), 0, where)
    if is_pickle(bytes(start)):
        return "pickle", read_pickled(fd, size, bytes(start), where, embedding=embedding), None
    if start.startswith(MARK):
        header, quantised = read_gguf(fd, size, where)
        return "gguf", Pickled(header, {}), quantised
    check_content(path, bytes(start), size)
    text = bytearray(header_length(bytes(start[:LENGTH_BYTES]), size, where))
    read_at(fd, memoryview(text), LENGTH_BYTES, where)
    return "safetensors", Pickled(parse_header(bytes(text), size, where), {}), None


def _torch_dtype(info: TensorInfo, path: Path) -> torch.dtype:
    try:
        return to_torch_dtype(info.dtype)
    except InputError as error:
        raise InputError(error.what, where=f"{path}, tensor '{info.name}'", fix=error.fix) from error
