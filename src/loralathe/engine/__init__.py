"""Type and plan from headers, check, run, report.

`run_recipe` does it all; `open_session` stops before the first tensor is read (for `--dry-run`);
`evaluate_weights` gives a step as tensors in memory.
Names are imported when they are used, so that looking at a header stays quick; only running imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names

if TYPE_CHECKING:
    from loralathe.engine.budgets import BudgetSurvey, survey_budgets
    from loralathe.engine.coverage import AdapterCoverage
    from loralathe.engine.energies import BlockEnergy, ModuleRecord
    from loralathe.engine.execute import survey
    from loralathe.engine.extraction import Extracted
    from loralathe.engine.held import Held, RoundingReport
    from loralathe.engine.job import Context, Job, make_jobs
    from loralathe.engine.measured import Measured, MeasuredNumber, parse_measured, read_measured, recipe_hash
    from loralathe.engine.options import RunOptions, check_device
    from loralathe.engine.outputs import AdapterOutput, Output, Plan, TensorPlan, WeightsOutput
    from loralathe.engine.plan import has_kernel
    from loralathe.engine.provenance import base_warnings
    from loralathe.engine.record import (
        KEY,
        RUN_CHOICES,
        Record,
        RecordedInput,
        conversion_record,
        metadata_of,
        parse_record,
        plain_record,
        read_record,
        write_record,
    )
    from loralathe.engine.remarks import FAR, MOST_BEYOND, UNRELATED, Remark, remark
    from loralathe.engine.report import BUCKETS, BudgetReport, ExtractionReport, Report, WeightsReport
    from loralathe.engine.results import evaluate_weights, run_recipe, run_session
    from loralathe.engine.row_slice import RowSliceJob, run_job
    from loralathe.engine.session import (
        InputUse,
        Session,
        check_outputs,
        existing_outputs,
        input_uses,
        open_session,
        resolve_blocks,
    )
    from loralathe.engine.sinks import Sinks, adapter_format
    from loralathe.engine.slices import ModuleAddress, RowSlice, Unit, in_scope, modules_by_key
    from loralathe.engine.sources import Sources, tensors_by_name
    from loralathe.engine.words import bundled_words
    from loralathe.engine.workers import Workspace, full_precision, in_parallel, prepared

_HOMES = {
    "budgets": ("BudgetSurvey", "survey_budgets"),
    "coverage": ("AdapterCoverage",),
    "energies": ("BlockEnergy", "ModuleRecord"),
    "execute": ("survey",),
    "extraction": ("Extracted",),
    "held": ("Held", "RoundingReport"),
    "job": ("Context", "Job", "make_jobs"),
    "measured": ("Measured", "MeasuredNumber", "parse_measured", "read_measured", "recipe_hash"),
    "options": ("RunOptions", "check_device"),
    "outputs": ("AdapterOutput", "Output", "Plan", "TensorPlan", "WeightsOutput"),
    "plan": ("has_kernel",),
    "provenance": ("base_warnings",),
    "record": (
        "KEY",
        "RUN_CHOICES",
        "Record",
        "RecordedInput",
        "conversion_record",
        "metadata_of",
        "parse_record",
        "plain_record",
        "read_record",
        "write_record",
    ),
    "remarks": ("FAR", "MOST_BEYOND", "UNRELATED", "Remark", "remark"),
    "report": ("BUCKETS", "BudgetReport", "ExtractionReport", "Report", "WeightsReport"),
    "results": ("evaluate_weights", "run_recipe", "run_session"),
    "row_slice": ("RowSliceJob", "run_job"),
    "session": (
        "InputUse",
        "Session",
        "check_outputs",
        "existing_outputs",
        "input_uses",
        "open_session",
        "resolve_blocks",
    ),
    "sinks": ("Sinks", "adapter_format"),
    "sources": ("Sources", "tensors_by_name"),
    "slices": ("in_scope", "ModuleAddress", "RowSlice", "Unit", "modules_by_key"),
    "words": ("bundled_words",),
    "workers": ("Workspace", "full_precision", "in_parallel", "prepared"),
}

__all__ = [
    "BUCKETS", "FAR", "KEY", "MOST_BEYOND", "RUN_CHOICES", "UNRELATED", "AdapterCoverage", "AdapterOutput",
    "BlockEnergy", "BudgetReport", "BudgetSurvey", "Context", "Extracted", "ExtractionReport", "Held",
    "InputUse", "Job", "Measured", "MeasuredNumber", "ModuleAddress", "ModuleRecord", "Output", "Plan",
    "Record", "RecordedInput", "Remark", "Report", "RoundingReport", "RowSlice", "RowSliceJob", "RunOptions",
    "Session", "Sinks", "Sources", "TensorPlan", "Unit", "WeightsOutput", "WeightsReport", "Workspace",
    "adapter_format", "base_warnings", "bundled_words", "check_device", "check_outputs", "conversion_record",
    "evaluate_weights", "existing_outputs", "full_precision", "has_kernel", "in_parallel", "in_scope",
    "input_uses", "make_jobs", "metadata_of", "modules_by_key", "open_session", "parse_measured",
    "parse_record", "plain_record", "prepared", "read_measured", "read_record", "recipe_hash", "remark",
    "resolve_blocks", "run_job", "run_recipe", "run_session", "survey", "survey_budgets", "tensors_by_name",
    "write_record",
]  # fmt: skip

__getattr__ = lazy_names(__name__, _HOMES)
