"""Type and plan from headers, check, run, report.

`run_recipe` does it all; `open_session` stops before the first tensor is read (for `--dry-run`).
Importing this room does not import torch; running does.
"""

from loralathe.engine.memory import evaluate_weights
from loralathe.engine.options import RunOptions
from loralathe.engine.plan import AdapterOutput, Plan, WeightsOutput
from loralathe.engine.record import KEY, read_record
from loralathe.engine.report import (
    BlockEnergy,
    ExtractionReport,
    ModuleRecord,
    Report,
    WeightsReport,
)
from loralathe.engine.run import Session, open_session, run_recipe, run_session

__all__ = [
    "KEY",
    "AdapterOutput",
    "BlockEnergy",
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
