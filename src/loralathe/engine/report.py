"""What a run did: counts, energies per block, ranks; plain numbers for people and for machines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.engine.coverage import AdapterCoverage
from loralathe.engine.plan import WeightsOutput
from loralathe.engine.session import Session
from loralathe.families import label_order
from loralathe.language import ExtractLeaf

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """One tensor or module of an extraction; energies are squared Frobenius norms.

    energy: of the whole delta;  kept: in the factors;  noise: expected from input rounding alone;
    rank:   0 where nothing was written;  reason: why the rank is what it is;  nbytes: of the factors.
    """

    name: str
    block: str
    energy: float
    kept: float
    noise: float
    rank: int
    reason: str
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class BlockEnergy:
    """Sums over a block. kept + truncated + noise + outside = energy.

    truncated: beyond the rank, above what rounding explains;  noise: explained by rounding;
    outside:   in tensors that a LoRA does not hold (biases, norms, layers out of scope).
    """

    block: str
    energy: float
    kept: float
    truncated: float
    noise: float
    outside: float
    modules: int
    nbytes: int = 0


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

    completed: modules of zeros in the file, without which A1111 ignores those beside them
    """

    step: str
    path: Path | None
    records: tuple[ModuleRecord, ...]
    rank: int | None
    budget: BudgetReport | None = None
    completed: int = 0

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
        return [_block_energy(name, grouped[name]) for name in grouped]

    def total(self) -> BlockEnergy:
        return _block_energy("total", self.records)


def _block_energy(name: str, records: Iterable[ModuleRecord]) -> BlockEnergy:
    records = list(records)
    kept = math.fsum(record.kept for record in records)
    outside = math.fsum(record.energy for record in records if record.reason in OUTSIDE)
    inside = [record for record in records if record.reason not in OUTSIDE]
    noise = math.fsum(min(record.noise, max(record.energy - record.kept, 0.0)) for record in inside)
    energy = math.fsum(record.energy for record in records)
    truncated = max(energy - kept - outside - noise, 0.0)
    return BlockEnergy(
        name,
        energy,
        kept,
        truncated,
        noise,
        outside,
        sum(1 for record in records if record.rank),
        sum(record.nbytes for record in records),
    )


OUTSIDE = frozenset({"outside", "left out"})


@dataclass(frozen=True)
class WeightsReport:
    """What became of the tensors of a checkpoint output."""

    step: str
    path: Path | None
    primary: str
    dtype: str
    buckets: Mapping[str, int]
    nbytes: int
    discarded: int = 0
    notes: tuple[str, ...] = ()


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
    seconds: float,
) -> Report:
    """Counts and energies of a finished run. paths, records, completed: by step."""
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
                    output.save.dtype or "source",
                    output.buckets,
                    output.nbytes,
                    len(output.discarded),
                    output.notes,
                )
            )
        else:
            modules = tuple(sorted(records[step], key=lambda one: (label_order(one.block, family), one.name)))
            spent = budgets.get(output.leaf.unrounded)
            extractions.append(
                ExtractionReport(step, paths.get(step), modules, output.one_rank, spent, completed[step])
            )
    coverage, warnings = session.plan.coverage, session.plan.warnings
    return Report(tuple(weights), tuple(extractions), coverage, warnings, seconds, tensors)
