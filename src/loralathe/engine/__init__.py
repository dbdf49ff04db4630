"""Type and plan from headers, check, run, report.

`run_recipe` does it all; `open_session` stops before the first tensor is read (for `--dry-run`);
`evaluate_weights` gives a step as tensors in memory; `inspect_file` and `compare_files` look at files.
Names are imported when they are used, so that looking at a header stays quick; only running imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loralathe.engine.adapter_plan import AdapterOutput
    from loralathe.engine.compare import Comparison, compare_files
    from loralathe.engine.inspect_facts import Inspection
    from loralathe.engine.inspect_file import inspect_file
    from loralathe.engine.memory import evaluate_weights
    from loralathe.engine.options import RunOptions
    from loralathe.engine.plan import Plan, WeightsOutput
    from loralathe.engine.record import KEY, read_record
    from loralathe.engine.report import (
        BlockEnergy,
        BudgetReport,
        ExtractionReport,
        ModuleRecord,
        Report,
        WeightsReport,
    )
    from loralathe.engine.run import Session, open_session, run_recipe, run_session

_HOMES = {
    "adapter_plan": ("AdapterOutput",),
    "compare": ("Comparison", "compare_files"),
    "inspect_facts": ("Inspection",),
    "inspect_file": ("inspect_file",),
    "memory": ("evaluate_weights",),
    "options": ("RunOptions",),
    "plan": ("Plan", "WeightsOutput"),
    "record": ("KEY", "read_record"),
    "report": ("BlockEnergy", "BudgetReport", "ExtractionReport", "ModuleRecord", "Report", "WeightsReport"),
    "run": ("Session", "open_session", "run_recipe", "run_session"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "KEY",
    "AdapterOutput",
    "BlockEnergy",
    "BudgetReport",
    "Comparison",
    "ExtractionReport",
    "Inspection",
    "ModuleRecord",
    "Plan",
    "Report",
    "RunOptions",
    "Session",
    "WeightsOutput",
    "WeightsReport",
    "compare_files",
    "evaluate_weights",
    "inspect_file",
    "open_session",
    "read_record",
    "run_recipe",
    "run_session",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
