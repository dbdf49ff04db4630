"""What a run did: counts, energies per block, ranks; plain numbers for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.engine.coverage import AdapterCoverage
from loralathe.engine.energies import BlockEnergy, ModuleRecord, block_energy
from loralathe.engine.held import RoundingReport, rounding_warning
from loralathe.engine.outputs import AdapterOutput, WeightsOutput
from loralathe.engine.remarks import Remark, extraction_remarks
from loralathe.engine.session import Session
from loralathe.families import label_order
from loralathe.language import ExtractLeaf, ExtractOptions

if TYPE_CHECKING:
    import torch


BUCKETS = {
    "changed": "changed",
    "copied": "copied",
    "baked VAE": "from the other VAE",
    "strength 0": "copied, as their strength is 0",
    "only in the first": "copied, as the other models lack them",
    "other shape": "copied, as another model has them in other shapes",
    "kept by rule": "never merged (position ids, marks)",
    "read with weights": "scales of quantised weights, read with them",
}
"""What became of a checkpoint's tensors, in words for people; in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """How a budget over all modules was spent.

    asked:  in words;  share: kept energy over all energy in scope above the noise;
    marginal_density: share of that energy per byte, of the poorest directions kept;
    missed: whether an energy could not be reached under the cap or above the noise.
    """

    asked: str
    share: float
    marginal_density: float
    missed: bool


@dataclass(frozen=True)
class ExtractionReport:
    """How much of a delta an extracted adapter holds. `rank` is None where every module has its own.

    options:   what was asked for
    completed: modules of zeros in the file, without which A1111 ignores those beside them
    remarks:   sentences for the end, where a number calls for an act
    """

    step: str
    path: Path | None
    records: tuple[ModuleRecord, ...]
    rank: int | None
    options: ExtractOptions
    budget: BudgetReport | None = None
    completed: int = 0
    remarks: tuple[Remark, ...] = ()

    @property
    def written(self) -> int:
        return sum(1 for record in self.records if record.rank)

    @property
    def reasons(self) -> Counter[str]:
        return Counter(record.reason for record in self.records)

    def blocks(self) -> list[BlockEnergy]:
        """Per block, in the order of the records."""
        grouped: dict[str, list[ModuleRecord]] = {}
        for record in self.records:
            grouped.setdefault(record.block, []).append(record)
        return [block_energy(name, grouped[name]) for name in grouped]

    def total(self) -> BlockEnergy:
        return block_energy("total", self.records)


@dataclass(frozen=True)
class WeightsReport:
    """What became of the tensors of a checkpoint output, and of what was added when it was rounded."""

    step: str
    path: Path | None
    primary: str
    dtype: str
    buckets: Mapping[str, int]
    nbytes: int
    rounding: RoundingReport
    discarded: int = 0
    notes: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything a run has to say. `seconds` is wall time and goes into no file.

    tensors: step → name → tensor, of the outputs that were asked for in memory.
    """

    weights: tuple[WeightsReport, ...] = ()
    extractions: tuple[ExtractionReport, ...] = ()
    coverage: Mapping[str, AdapterCoverage] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    tensors: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)


def make_report(
    session: Session,
    paths: Mapping[str, Path | None],
    records: Mapping[str, Sequence[ModuleRecord]],
    budgets: Mapping[ExtractLeaf, BudgetReport],
    completed: Mapping[str, int],
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
    rounding: Mapping[str, RoundingReport],
    remarks: Mapping[str, tuple[Remark, ...]],
    seconds: float,
) -> Report:
    """Counts and energies of a finished run. paths, records, completed, rounding, remarks: by step."""
    weights, extractions = [], []
    family = session.sources.family
    for output in session.plan.outputs:
        step = output.save.step
        if isinstance(output, WeightsOutput):
            weights.append(
                WeightsReport(
                    step,
                    paths.get(step),
                    output.primary,
                    output.dtype,
                    output.buckets,
                    output.nbytes,
                    rounding[step],
                    len(output.discarded),
                    output.notes,
                    remarks[step],
                )
            )
        else:
            modules = sorted(records[step], key=lambda one: (label_order(one.block, family), one.name))
            spent = budgets.get(output.leaf.unrounded)
            made = _extraction_report(output, paths.get(step), modules, spent, completed[step])
            extractions.append(replace(made, remarks=(*remarks[step], *made.remarks)))
    lossy = (rounding_warning(_file_name(report), report.rounding) for report in weights)
    warnings = (*session.plan.warnings, *filter(None, lossy))
    return Report(tuple(weights), tuple(extractions), session.plan.coverage, warnings, seconds, tensors)


def _extraction_report(
    output: AdapterOutput,
    path: Path | None,
    modules: Sequence[ModuleRecord],
    spent: BudgetReport | None,
    completed: int,
) -> ExtractionReport:
    options, largest = output.leaf.options, max((record.rank for record in modules), default=0)
    found = ExtractionReport(
        output.save.step, path, tuple(modules), output.one_rank, options, spent, completed
    )
    return replace(found, remarks=extraction_remarks(found.total(), found.reasons, largest, options))


def _file_name(report: WeightsReport) -> str:
    return f"'{report.step}'" if report.path is None else report.path.name
