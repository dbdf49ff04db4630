"""Is each file what its place in a command says: a checkpoint, or a LoRA?

Formulas take both anywhere; in `merge BASE ADAPTER` a file in the wrong place is a mistake that would be
merged, or refused in words of algebra.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from loralathe.errors import InputError

MIX = "two checkpoints are mixed with weighted-sum or add-difference"
FACTORS = "what is to be made of LoRAs alone is the work of combine and resize"


def require_kinds(checkpoints: Iterable[Path], adapters: Iterable[Path] = (), *, fix: str = FACTORS) -> None:
    """InputError for the first file of the wrong kind; `fix` is for a LoRA where a checkpoint belongs.

    Raises InputError, too, for files that cannot be read.
    """
    for path in checkpoints:
        if _is_adapter(path):
            raise InputError("this is a LoRA, not a checkpoint", where=str(path), fix=fix)
    for path in adapters:
        if not _is_adapter(path):
            raise InputError("this is no LoRA", where=str(path), fix=MIX)


def _is_adapter(path: Path) -> bool:
    from loralathe.adapters import shows_adapter
    from loralathe.tensorfiles import open_tensorfile

    with open_tensorfile(path) as file:
        return shows_adapter(file.header.tensors)
