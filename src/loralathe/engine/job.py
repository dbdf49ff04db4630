"""One unit of work: a tensor, and what every output wants of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loralathe.engine.adapter_plan import AdapterOutput
from loralathe.engine.budget_survey import BudgetSurvey
from loralathe.engine.evaluate import (
    Band,
    LoadFactors,
    Prepare,
    bands,
    checked_energy,
    no_factors,
    no_methods,
)
from loralathe.engine.options import RunOptions
from loralathe.engine.plan import TensorPlan, WeightsOutput
from loralathe.engine.sinks import AdapterSink, WeightsSink
from loralathe.engine.sources import Sources
from loralathe.engine.specialize import SliceSum, SliceTerm, Specializer
from loralathe.engine.units import RowSlice, Unit
from loralathe.engine.workspace import Workspace
from loralathe.families import FACTORED
from loralathe.language.expressions import (
    CheckpointLeaf,
    ExtractLeaf,
    LinearExpression,
    MethodLeaf,
)
from loralathe.tensorfiles import DTYPES

BAND_BYTES = 2 << 20
"""Scratch that one leaf takes in a worker: a band in its own dtype and in fp32."""


@dataclass(frozen=True)
class TensorRequest:
    """A checkpoint output's tensor that this job makes."""

    output: WeightsOutput
    tensor: TensorPlan
    sink: WeightsSink

    @property
    def expression(self) -> LinearExpression:
        """What the tensor is: the output's formula, or what stands for it."""
        return self.tensor.instead or self.output.expression

    @property
    def primary(self) -> str:
        """The checkpoint that the tensor comes from where nothing changes it."""
        return self.output.primary_of(self.tensor)


@dataclass(frozen=True)
class ModuleRequest:
    """An adapter output that the modules of this unit belong to."""

    output: AdapterOutput
    sink: AdapterSink


@dataclass(frozen=True)
class SurveyWant:
    """An extraction with a budget that looks at this unit in its first pass."""

    leaf: ExtractLeaf
    budget_survey: BudgetSurvey


@dataclass(frozen=True)
class Job:
    """A unit and all that is wanted of it: tensors to compute, adapters to extract, tensors to copy.

    In the first pass of a budget: singular values to find.
    """

    unit: Unit
    weights: tuple[TensorRequest, ...]
    adapters: tuple[ModuleRequest, ...]
    copies: tuple[TensorRequest, ...]
    surveys: tuple[SurveyWant, ...] = ()

    @property
    def nbytes(self) -> int:
        """Estimate of the memory in flight: bands, and for extractions the delta with its workspace."""
        leaves = {leaf for want in self.weights for leaf in want.expression.leaves}
        leaves |= {leaf for want in self.adapters for leaf in want.output.leaf.expression.leaves}
        leaves |= {leaf for want in self.surveys for leaf in want.leaf.expression.leaves}
        extractions = sum(isinstance(leaf, ExtractLeaf) for leaf in leaves)
        extractions += len(self.adapters) + len(self.surveys)
        layers = [
            row_slice
            for row_slice in self.unit.slices
            if row_slice.module and row_slice.module.scope in FACTORED
        ]
        rows = max((row_slice.rows for row_slice in layers), default=0)
        # A method is prepared in buffers of its own, while a band is half made.
        methods = (leaf for leaf in leaves if isinstance(leaf, MethodLeaf))
        buffers = len(leaves) + 3 + sum(len(leaves) + leaf.method.scratch for leaf in methods)
        return buffers * BAND_BYTES + extractions * 8 * rows * self.unit.row_elements

    @property
    def work(self) -> int:
        """Bytes of the tensor, for progress."""
        return max(1, 2 * self.unit.numel)


class Cancelled(Exception):  # noqa: N818 -- no error: another thread failed, or the person interrupted
    """The run is over; stop quietly."""


@dataclass(frozen=True)
class Context:
    """What all jobs of a run share; safe to use from all threads."""

    sources: Sources
    specializer: Specializer
    options: RunOptions
    workspace: Workspace
    budget_survey: BudgetSurvey
    cancelled: Callable[[], bool]

    def bands(
        self,
        unit: Unit,
        row_slice: RowSlice,
        factors: LoadFactors = no_factors,
        prepare: Prepare = no_methods,
        workspace: Workspace | None = None,
    ) -> Iterable[Band]:
        """The slice's rows, band by band; raises Cancelled when the run is over."""
        space = self.workspace if workspace is None else workspace
        for rows in bands(row_slice, unit):
            if self.cancelled():
                raise Cancelled
            yield Band(self.sources, self.specializer, space, unit, row_slice, rows, factors, prepare)


def run_job(context: Context, job: Job) -> None:
    """Raises InputError for NaN, Inf or overflow, MachineError when writing fails."""
    from loralathe.engine.row_slice import RowSliceJob

    for want in job.copies:
        copy_tensor(context, want)
    if job.weights or job.adapters or job.surveys:
        for row_slice in job.unit.slices:
            RowSliceJob(context, job, row_slice).run()


def copy_tensor(context: Context, want: TensorRequest) -> None:
    """A tensor that nothing touches, byte for byte; looked at only on --check-finite."""
    source = context.sources.checkpoints[want.primary]
    unit = want.tensor.unit
    if context.options.check_finite and DTYPES[want.tensor.spec.dtype].is_float:
        leaf = CheckpointLeaf(want.primary)
        copied = SliceSum((SliceTerm(leaf, 1.0),), ())
        for row_slice in unit.slices:
            for band in context.bands(unit, row_slice):
                value = band.value(leaf, "scan", want.primary)
                checked_energy(value, unit, copied, band, None)
    assert unit.key is not None
    want.sink.copy(want.tensor.spec.name, source.file, source.tensors[unit.key].name)
