"""loralathe: turn, cut and graft LoRAs of Stable Diffusion; streaming algebra on files.

The functions, their options and their results: docs/api.md. Names are imported when they are used, so that
`import loralathe` stays quick and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from loralathe.version import __version__

if TYPE_CHECKING:
    from loralathe.api.inspection import compare, inspect, verify
    from loralathe.api.joining import combine, resize
    from loralathe.api.running import Planned, plan, recorded_recipe, run
    from loralathe.api.shortcuts import add_difference, convert, evaluate, extract, merge, weighted_sum
    from loralathe.engine import Report, RunOptions
    from loralathe.errors import InputError, LatheError, MachineError
    from loralathe.inspection import Comparison, Inspection
    from loralathe.language import (
        Recipe,
        Save,
        make_recipe,
        read_recipe,
    )
    from loralathe.progress import Progress
    from loralathe.strengths import AdapterUse
    from loralathe.verification import Verification

_HOMES = {
    "strengths": ("AdapterUse",),
    "api.joining": ("combine", "resize"),
    "api.inspection": ("compare", "inspect", "verify"),
    "api.running": ("Planned", "plan", "recorded_recipe", "run"),
    "api.shortcuts": ("add_difference", "convert", "evaluate", "extract", "merge", "weighted_sum"),
    "engine": ("Report", "RunOptions"),
    "inspection": ("Comparison", "Inspection"),
    "verification": ("Verification",),
    "errors": ("InputError", "LatheError", "MachineError"),
    "progress": ("Progress",),
    "language": ("Recipe", "Save", "make_recipe", "read_recipe"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AdapterUse",
    "Comparison",
    "InputError",
    "Inspection",
    "LatheError",
    "MachineError",
    "Planned",
    "Progress",
    "Recipe",
    "Report",
    "RunOptions",
    "Save",
    "Verification",
    "__version__",
    "add_difference",
    "combine",
    "compare",
    "convert",
    "evaluate",
    "extract",
    "inspect",
    "make_recipe",
    "merge",
    "plan",
    "read_recipe",
    "recorded_recipe",
    "resize",
    "run",
    "verify",
    "weighted_sum",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
