"""Writes safetensors files: of known sizes, of sizes known at the end, or of tensors from other files."""

from __future__ import annotations

import os
import tempfile
import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from loralathe.errors import InputError
from loralathe.progress import Progress
from loralathe.tensorfiles.atomic import made_folders, stage_bytes
from loralathe.tensorfiles.hashes import legacy_hash_of, model_hash_of
from loralathe.tensorfiles.header import (
    LENGTH_BYTES,
    Header,
    TensorInfo,
    TensorSpec,
    encode_header,
    in_file_order,
    plan_layout,
)
from loralathe.tensorfiles.opening import open_tensorfile
from loralathe.tensorfiles.outputs import check_output, write_error
from loralathe.tensorfiles.positional import copy_range, write_at
from loralathe.tensorfiles.reader import TensorFile
from loralathe.tensorfiles.temporary import remove_stale

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PIECE = 4 << 20
"""Bytes taken at once of a tensor whose elements do not lie one after the other in its file."""
LARGE = 1 << 30
"""Files from this many bytes on are written past the system's cache, see `positional.write_at`."""
MODEL_HASH = "sshs_model_hash"
LEGACY_HASH = "sshs_legacy_hash"


class CheckpointWriter(AbstractContextManager["CheckpointWriter"]):
    """A safetensors file under construction; any thread may `write` and `copy_from`, in any order.

    specs:    the tensors, in the order of the file.
    metadata: written with sorted keys; values known only at the end need a placeholder of
              their final length now, see `set_metadata`.
    header:   the header of the finished file.

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
        self._staged = stage_bytes(self.path, encoded, replace=force, size=self.header.file_size)

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
            self.copy_bytes(name, *place, f"{source.path}, tensor '{source_name}'")
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
        text = encoded[LENGTH_BYTES:].ljust(reserved - LENGTH_BYTES)
        try:
            write_at(self._staged.fd, memoryview(text), LENGTH_BYTES)
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

    def __exit__(self, *_: object) -> None:
        self.abort()

    def _claim(self, name: str, start: int, count: int) -> TensorInfo:
        with self._lock:
            try:
                self._coverage[name].add(start, start + count)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return self.header.tensors[name]


class WrittenBytes:
    """The bytes of a tensor written so far: disjoint intervals in [0, size), merged where they touch.

    Each byte must be written exactly once, or the file is not what was planned.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._parts: list[tuple[int, int]] = []

    def add(self, begin: int, end: int) -> None:
        """Count [begin, end) as written; ValueError when outside the tensor or partly written before."""
        if not 0 <= begin <= end <= self._size:
            raise ValueError(f"bytes [{begin}, {end}) of {self._size}")
        if begin == end:
            return
        parts = self._parts
        at = bisect_left(parts, (begin, end))
        before = parts[at - 1] if at else (0, 0)
        after = parts[at] if at < len(parts) else (self._size, self._size)
        if before[1] > begin or after[0] < end:
            raise ValueError(f"bytes [{begin}, {end}) are written twice")
        if at < len(parts) and after[0] == end:
            end = parts.pop(at)[1]
        if at and before[1] == begin:
            begin = parts.pop(at - 1)[0]
        insort(parts, (begin, end))

    def first_gap(self) -> int | None:
        """Offset of the first byte not written yet; None when all are."""
        if not self._size:
            return None
        if not self._parts or self._parts[0][0]:
            return 0
        end = self._parts[0][1]
        return None if end == self._size else end


def adapter_file_size(specs: Iterable[TensorSpec], metadata: Mapping[str, str]) -> int:
    """Bytes of the file that `AdapterWriter` makes of these tensors and this metadata, header included."""
    infos = plan_layout(in_file_order(specs)).values()
    reserved = dict(metadata) | {MODEL_HASH: "0" * 64, LEGACY_HASH: "0" * 8}
    return len(encode_header(infos, reserved)) + sum(info.nbytes for info in infos)


class AdapterWriter(AbstractContextManager["AdapterWriter"]):
    """A safetensors file whose tensors arrive one by one, from any thread, in any order.

    The file has them in the format's order (largest dtype first, then by name), so the order of adding them
    does not matter; tensors of one module lie side by side. The spool has no name on disk: it ends with the
    process, however that ends. Use in a `with` block: leaving it without `commit` leaves nothing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, str],
        *,
        force: bool = False,
        inputs: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self.path = Path(path)
        self._metadata = dict(metadata)
        self._force = force
        self._inputs = tuple(inputs)
        self._places: dict[str, tuple[TensorSpec, int]] = {}
        self._end = 0
        self._lock = threading.Lock()
        check_output(self.path, self._inputs, force)
        final = Path(os.path.realpath(self.path))
        remove_stale(final)
        try:
            self._spool = tempfile.TemporaryFile(dir=final.parent, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise write_error(error, self.path) from error

    def add(self, name: str, dtype: str, shape: Sequence[int], data: Buffer) -> None:
        """Take one tensor, `data` its C-contiguous bytes; ValueError on a wrong size or a name used twice."""
        view = memoryview(data)
        spec = TensorSpec(name, dtype, tuple(shape))
        if spec.nbytes != view.nbytes:
            raise ValueError(f"{name}: {view.nbytes} bytes given, {dtype} {list(shape)} has {spec.nbytes}")
        with self._lock:
            if name in self._places:
                raise ValueError(f"tensor name '{name}' is taken")
            start, self._end = self._end, self._end + spec.nbytes
            self._places[name] = (spec, start)
        if view.nbytes:
            try:
                write_at(self._spool.fileno(), view.cast("B"), start)
            except OSError as error:
                raise write_error(error, self.path) from error

    def commit(self, metadata: Mapping[str, str] = MappingProxyType({})) -> Path:
        """Write the file with the metadata of both calls and the two hashes over the bytes written; its path.

        sshs_model_hash and sshs_legacy_hash are as defined in `hashes`; the latter sees the `ss_*` metadata.
        """
        merged = self._metadata | dict(metadata)
        if not self._places:
            raise InputError("there is nothing to write: no module was added", where=str(self.path))
        specs = in_file_order(spec for spec, _ in self._places.values())
        reserved = merged | {MODEL_HASH: "0" * 64, LEGACY_HASH: "0" * 8}
        with CheckpointWriter(self.path, specs, reserved, force=self._force, inputs=self._inputs) as writer:
            for spec in specs:
                writer.copy_bytes(spec.name, self._spool.fileno(), self._places[spec.name][1], str(self.path))
            where = str(self.path)
            hashes = {
                MODEL_HASH: model_hash_of(writer.fileno(), writer.header, where),
                LEGACY_HASH: legacy_hash_of(writer.fileno(), writer.header, merged, where),
            }
            writer.set_metadata(merged | hashes)
            writer.commit()
        self.abort()
        return self.path

    def abort(self) -> None:
        """Drop the spool; does nothing after `commit`."""
        self._spool.close()

    def __exit__(self, *_: object) -> None:
        self.abort()


def join_files(
    parts: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write one file with the tensors of all parts, byte for byte, in the format's customary order.

    metadata: None takes that of the first part. The same parts give the same bytes, in whatever order they
    come, as long as the metadata is the same. No tensor is held in memory.
    Raises InputError for a tensor that two parts have, for damaged parts, and as `check_output` does.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(open_tensorfile(part)) for part in parts]
        stack.enter_context(made_folders([Path(output)]))
        owners = _owners(files)
        specs = [TensorSpec(i.name, i.dtype, i.shape) for file in files for i in file.header.tensors.values()]
        kept = dict(files[0].header.metadata) if metadata is None and files else dict(metadata or {})
        writer = stack.enter_context(
            CheckpointWriter(output, in_file_order(specs), kept, force=force, inputs=parts)
        )
        size = sum(info.nbytes for info in writer.header.tensors.values())
        with (progress or Progress()).task(f"joining {Path(output).name}", size) as task:
            for name, info in writer.header.tensors.items():
                writer.copy_from(name, owners[name], name)
                task.advance(info.nbytes)
        return writer.commit()


def _owners(files: Sequence[TensorFile]) -> dict[str, TensorFile]:
    """The file that each tensor is in."""
    owners: dict[str, TensorFile] = {}
    for file in files:
        for name in file.header.tensors:
            if name in owners:
                raise InputError(
                    f"two parts have the tensor '{name}'",
                    where=f"{owners[name].path} and {file.path}",
                    fix="parts that are joined must not overlap",
                )
            owners[name] = file
    return owners
