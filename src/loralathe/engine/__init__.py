"""Type and plan from headers, check, run, report.

`run_recipe` does it all; `open_session` stops before the first tensor is read (for `--dry-run`);
`evaluate_weights` gives a step as tensors in memory.
Names are imported when they are used, so that looking at a header stays quick; only running imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loralathe.engine.options import RunOptions
    from loralathe.engine.plan import AdapterOutput, Plan, WeightsOutput
    from loralathe.engine.record import KEY, read_record
    from loralathe.engine.report import (
        BlockEnergy,
        BudgetReport,
        ExtractionReport,
        ModuleRecord,
        Report,
        WeightsReport,
    )
    from loralathe.engine.results import evaluate_weights, run_recipe, run_session
    from loralathe.engine.session import Session, open_session

_HOMES = {
    "options": ("RunOptions",),
    "plan": ("AdapterOutput", "Plan", "WeightsOutput"),
    "record": ("KEY", "read_record"),
    "report": ("BlockEnergy", "BudgetReport", "ExtractionReport", "ModuleRecord", "Report", "WeightsReport"),
    "results": ("evaluate_weights", "run_recipe", "run_session"),
    "session": ("Session", "open_session"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "KEY",
    "AdapterOutput",
    "BlockEnergy",
    "BudgetReport",
    "ExtractionReport",
    "ModuleRecord",
    "Plan",
    "Report",
    "RunOptions",
    "Session",
    "WeightsOutput",
    "WeightsReport",
    "evaluate_weights",
    "open_session",
    "read_record",
    "run_recipe",
    "run_session",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
