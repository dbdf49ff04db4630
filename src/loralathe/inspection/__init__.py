"""What is in a file, and how two files differ: inspect, norms and compare. Nothing is written.

Names are imported when they are used: looking at a header imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loralathe.inspection.compare import BlockComparison, Comparison, compare_files
    from loralathe.inspection.file import (
        AdapterFacts,
        BlockModules,
        CheckpointFacts,
        Inspection,
        Part,
        inspect_file,
    )
    from loralathe.inspection.norms import CHUNK, Norm, block_norms, read_flat, squares

_HOMES = {
    "compare": ("BlockComparison", "Comparison", "compare_files"),
    "file": ("AdapterFacts", "BlockModules", "CheckpointFacts", "Inspection", "Part", "inspect_file"),
    "norms": ("CHUNK", "Norm", "block_norms", "read_flat", "squares"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CHUNK",
    "AdapterFacts",
    "BlockComparison",
    "BlockModules",
    "CheckpointFacts",
    "Comparison",
    "Inspection",
    "Norm",
    "Part",
    "block_norms",
    "compare_files",
    "inspect_file",
    "read_flat",
    "squares",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
