"""Writes a safetensors file whose sizes are known only when the work is done; data waits in a spool."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from loralathe.errors import InputError
from loralathe.tensorfiles.checkpoint_writer import CheckpointWriter
from loralathe.tensorfiles.hashes import legacy_hash_of, model_hash_of
from loralathe.tensorfiles.header import TensorSpec, encode_header, in_file_order, plan_layout
from loralathe.tensorfiles.outputs import check_output, write_error
from loralathe.tensorfiles.positional import write_at
from loralathe.tensorfiles.staging import remove_stale

if TYPE_CHECKING:
    from typing_extensions import Buffer

MODEL_HASH = "sshs_model_hash"
LEGACY_HASH = "sshs_legacy_hash"


def adapter_file_size(specs: Iterable[TensorSpec], metadata: Mapping[str, str]) -> int:
    """Bytes of the file that `AdapterWriter` makes of these tensors and this metadata, header included."""
    infos = plan_layout(in_file_order(specs)).values()
    reserved = dict(metadata) | {MODEL_HASH: "0" * 64, LEGACY_HASH: "0" * 8}
    return len(encode_header(infos, reserved)) + sum(info.nbytes for info in infos)


class AdapterWriter:
    """A safetensors file whose tensors arrive one by one, from any thread, in any order.

    The file has them in the format's order (largest dtype first, then by name), so it depends on what was
    added and not on when; tensors of one module lie side by side. The spool has no name on disk: it ends with
    the process, however that ends. Use in a `with` block: leaving it without `commit` leaves nothing.
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

    def __enter__(self) -> AdapterWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
