"""Several safetensors files as one: for weights that are kept, or shipped, in parts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from loralathe.errors import InputError
from loralathe.progress import Progress
from loralathe.tensorfiles.checkpoint_writer import CheckpointWriter
from loralathe.tensorfiles.header import TensorSpec, in_file_order
from loralathe.tensorfiles.reader import TensorFile, open_tensorfile


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
    """Which file each tensor is in."""
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
