"""Writes a safetensors file of known sizes: header first, bytes by position, the name last."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from loralathe.errors import InputError
from loralathe.tensorfiles.header import Header, TensorInfo, TensorSpec, encode_header, plan_layout
from loralathe.tensorfiles.outputs import check_output, write_error
from loralathe.tensorfiles.positional import copy_range, write_at
from loralathe.tensorfiles.reader import TensorFile
from loralathe.tensorfiles.staging import StagedFile
from loralathe.tensorfiles.written_bytes import WrittenBytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PIECE = 4 << 20
"""Bytes taken at once of a tensor that does not lie in a row in its file."""
LARGE = 1 << 30
"""Bytes from which a file is written past the system's cache, see `positional.write_at`."""


class CheckpointWriter:
    """A safetensors file under construction; any thread may `write` and `copy_from`, in any order.

    specs:    the tensors, in the order they are to have in the file.
    metadata: written with sorted keys; values known only at the end need a placeholder of
              final length now, see `set_metadata`.
    header:   what a reader of the finished file will see.

    The disk space is taken on construction: a full disk (MachineError) shows before the work. Use in a `with`
    block: leaving it without `commit` removes every trace. Errors of the output path: see `check_output`.
    A byte written twice or never is a ValueError: a fault of the calling program.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        specs: Sequence[TensorSpec],
        metadata: Mapping[str, str],
        *,
        force: bool = False,
        inputs: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self.path = Path(path)
        layout = plan_layout(specs)
        encoded = encode_header(layout.values(), metadata)
        data_size = next(reversed(layout.values())).end if layout else 0
        self.header = Header(
            MappingProxyType(layout),
            MappingProxyType(dict(metadata)),
            len(encoded),
            len(encoded) + data_size,
        )
        self._coverage = {info.name: WrittenBytes(info.nbytes) for info in layout.values()}
        self._lock = threading.Lock()
        self._past_cache = self.header.file_size >= LARGE
        check_output(self.path, inputs, force)
        self._staged = StagedFile(self.path, replace=force)
        self._prepare(encoded)

    def _prepare(self, encoded: bytes) -> None:
        try:
            self._staged.allocate(self.header.file_size)
            write_at(self._staged.fd, memoryview(encoded), 0)
        except OSError as error:
            self.abort()
            raise write_error(error, self.path) from error
        except BaseException:
            self.abort()
            raise

    def fileno(self) -> int:
        """Descriptor of the file under construction, for reading back what has been written."""
        return self._staged.fd

    def write(self, name: str, data: Buffer, start: int = 0) -> None:
        """Put `data` (C-contiguous buffer) at byte `start` of tensor `name`."""
        view = memoryview(data)
        info = self._claim(name, start, view.nbytes)
        if view.nbytes:
            at = self.header.data_start + info.begin + start
            try:
                write_at(self._staged.fd, view.cast("B"), at, past_cache=self._past_cache)
            except OSError as error:
                raise write_error(error, self.path) from error

    def copy_from(self, name: str, source: TensorFile, source_name: str) -> None:
        """Copy a whole tensor of another file as it is; ValueError when dtype or size are not as planned."""
        given = source.info(source_name)
        wanted = self.header.tensors[name]
        if (given.dtype, given.nbytes) != (wanted.dtype, wanted.nbytes):
            raise ValueError(f"{name}: {given} cannot be copied to {wanted}")
        place = source.place_of(given)
        if place is not None:
            self.copy_bytes(name, source.fileno(), place, f"{source.path}, tensor '{source_name}'")
            return
        for start in range(0, given.nbytes, _PIECE):
            piece = memoryview(bytearray(min(_PIECE, given.nbytes - start)))
            source.readinto(given, piece, start)
            self.write(name, piece, start)

    def copy_bytes(self, name: str, source: int, source_at: int, where: str) -> None:
        """Fill tensor `name` from byte `source_at` of an open file descriptor; `where` names it in errors."""
        wanted = self.header.tensors[name]
        self._claim(name, 0, wanted.nbytes)
        target_at = self.header.data_start + wanted.begin
        try:
            copy_range(
                source,
                source_at,
                self._staged.fd,
                target_at,
                wanted.nbytes,
                where=where,
                past_cache=self._past_cache,
            )
        except OSError as error:
            raise write_error(error, self.path) from error

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Replace the metadata; InputError when it needs more room than that given on construction."""
        encoded = encode_header(self.header.tensors.values(), metadata)
        reserved = self.header.data_start
        if len(encoded) > reserved:
            raise InputError(
                f"the metadata needs {len(encoded) - reserved} bytes more than were reserved",
                where=str(self.path),
                fix="shorten it, or give placeholders of full length when the file is begun",
            )
        # Only the JSON grows by spaces, so the length prefix stays that of the reserved header.
        text = encoded[8:].ljust(reserved - 8)
        try:
            write_at(self._staged.fd, memoryview(text), 8)
        except OSError as error:
            raise write_error(error, self.path) from error
        self.header = replace(self.header, metadata=MappingProxyType(dict(metadata)))

    def commit(self) -> Path:
        """Check that every byte was written, make the file durable and give it its name; returns the path."""
        for name, coverage in self._coverage.items():
            gap = coverage.first_gap()
            if gap is not None:
                self.abort()
                raise ValueError(f"{name}: byte {gap} was never written")
        self._staged.commit()
        return self.path

    def abort(self) -> None:
        """Remove every trace; does nothing after `commit`."""
        self._staged.discard()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _claim(self, name: str, start: int, count: int) -> TensorInfo:
        with self._lock:
            try:
                self._coverage[name].add(start, start + count)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return self.header.tensors[name]
