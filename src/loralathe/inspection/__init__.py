"""What is in a file, and how two files differ: inspect, norms and compare. Nothing is written.

Names are imported when they are used: looking at a header imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names

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
    from loralathe.inspection.origins import Origin, Stack
    from loralathe.inspection.transfer import BlockFit, Fitting, fit_adapter

_HOMES = {
    "compare": ("BlockComparison", "Comparison", "compare_files"),
    "file": ("AdapterFacts", "BlockModules", "CheckpointFacts", "Inspection", "Part", "inspect_file"),
    "norms": ("CHUNK", "Norm", "block_norms", "read_flat", "squares"),
    "origins": ("Origin", "Stack"),
    "transfer": ("BlockFit", "Fitting", "fit_adapter"),
}

__all__ = [
    "CHUNK", "AdapterFacts", "BlockComparison", "BlockFit", "BlockModules", "CheckpointFacts", "Comparison",
    "Fitting", "Inspection", "Norm", "Origin", "Part", "Stack", "block_norms", "compare_files",
    "fit_adapter", "inspect_file", "read_flat", "squares",
]  # fmt: skip

__getattr__ = lazy_names(__name__, _HOMES)
