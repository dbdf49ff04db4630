"""What is in a file, and how two files differ: inspect and compare. Nothing is written.

Names are imported when they are used: looking at a header imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loralathe.inspection.compare import Comparison, compare_files
    from loralathe.inspection.facts import Inspection
    from loralathe.inspection.file import inspect_file

_HOMES = {
    "compare": (
        "Comparison",
        "compare_files",
    ),
    "facts": ("Inspection",),
    "file": ("inspect_file",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Comparison",
    "Inspection",
    "compare_files",
    "inspect_file",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
