"""Inputs with quantised weights: how they are stored, and what an output makes of them, in words and data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from loralathe.engine.options import DTYPES
from loralathe.engine.sources import CheckpointSource
from loralathe.errors import counted, few
from loralathe.tensorfiles import TensorFile

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def stored_kinds(file: TensorFile) -> dict[str, int]:
    """How many tensors of a file are quantised, by kind, the commonest first; empty for most files."""
    kinds = Counter(info.stored.kind for info in file.header.tensors.values() if info.stored is not None)
    return dict(kinds.most_common())


def quantised_notes(
    sources: Iterable[CheckpointSource], primary: CheckpointSource, target: str | None
) -> Iterator[str]:
    """What is read in another form than it is stored in.

    primary: the checkpoint whose tensors the output has;  target: the dtype that is asked for, if any.
    """
    for source in sources:
        for kind, count in stored_kinds(source.file).items():
            tensors, dtype = counted(count, "tensor"), _NAMES[target or "BF16"]
            if source is primary:
                yield f"{tensors} of '{source.name}' stored as {kind}: read as fp32, saved as {dtype}"
            else:
                yield f"{tensors} of '{source.name}' stored as {kind}: read as fp32"
        if source.file.unused:
            scales = counted(len(source.file.unused), "scale")
            yield f"{scales} of '{source.name}' not needed, for activations only: {few(source.file.unused)}"
