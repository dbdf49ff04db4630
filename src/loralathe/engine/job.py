"""One unit of work: a tensor, and what every output wants of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loralathe.engine.adapter_plan import AdapterOutput
from loralathe.engine.allotted import Allotted
from loralathe.engine.evaluate import Band, LoadFactors, bands, checked_energy
from loralathe.engine.forms import CheckpointLeaf, ExtractLeaf
from loralathe.engine.local import Local, Localiser, LocalTerm
from loralathe.engine.options import RunOptions
from loralathe.engine.plan import TensorPlan, WeightsOutput
from loralathe.engine.sinks import AdapterSink, WeightsSink
from loralathe.engine.sources import Sources
from loralathe.engine.units import Slice, Unit
from loralathe.engine.workspace import Workspace
from loralathe.tensorfiles import DTYPES

BAND_BYTES = 2 << 20
"""Scratch that one leaf takes in a worker: a band in its own dtype and in fp32."""


@dataclass(frozen=True)
class WeightsWant:
    """A checkpoint output's tensor that this job makes."""

    output: WeightsOutput
    tensor: TensorPlan
    sink: WeightsSink


@dataclass(frozen=True)
class AdapterWant:
    """An adapter output that the modules of this unit belong to."""

    output: AdapterOutput
    sink: AdapterSink


@dataclass(frozen=True)
class SurveyWant:
    """An extraction with a budget that looks at this unit in its first pass."""

    leaf: ExtractLeaf
    allotted: Allotted


@dataclass(frozen=True)
class Job:
    """A unit and all that is wanted of it: tensors to compute, adapters to extract, tensors to copy.

    In the first pass of a budget: singular values to find.
    """

    unit: Unit
    weights: tuple[WeightsWant, ...]
    adapters: tuple[AdapterWant, ...]
    copies: tuple[WeightsWant, ...]
    surveys: tuple[SurveyWant, ...] = ()

    @property
    def nbytes(self) -> int:
        """Estimate of the memory in flight: bands, and for extractions the delta with its workspace."""
        leaves = {leaf for want in self.weights for leaf in want.output.form.leaves}
        leaves |= {leaf for want in self.adapters for leaf in want.output.leaf.form.leaves}
        leaves |= {leaf for want in self.surveys for leaf in want.leaf.form.leaves}
        extractions = sum(isinstance(leaf, ExtractLeaf) for leaf in leaves)
        extractions += len(self.adapters) + len(self.surveys)
        rows = max(
            (piece.rows for piece in self.unit.slices if piece.module and piece.module.scope != "outside"),
            default=0,
        )
        return (len(leaves) + 3) * BAND_BYTES + extractions * 8 * rows * self.unit.row_elements

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
    localiser: Localiser
    options: RunOptions
    workspace: Workspace
    allotted: Allotted
    cancelled: Callable[[], bool]

    def bands(self, unit: Unit, piece: Slice, factors: LoadFactors) -> Iterable[Band]:
        """The slice's rows, band by band; raises Cancelled when the run is over."""
        for rows in bands(piece, unit):
            if self.cancelled():
                raise Cancelled
            yield Band(self.sources, self.localiser, self.workspace, unit, piece, rows, factors)


def run_job(context: Context, job: Job) -> None:
    """Raises InputError for NaN, Inf or overflow, MachineError when writing fails."""
    from loralathe.engine.piece import PieceJob

    for want in job.copies:
        copy_tensor(context, want)
    if job.weights or job.adapters or job.surveys:
        for piece in job.unit.slices:
            PieceJob(context, job, piece).run()


def copy_tensor(context: Context, want: WeightsWant) -> None:
    """A tensor that nothing touches, byte for byte; looked at only on --check-finite."""
    source = context.sources.checkpoints[want.output.primary]
    unit = want.tensor.unit
    if context.options.check_finite and DTYPES[want.tensor.spec.dtype].is_float:
        leaf = CheckpointLeaf(want.output.primary)
        copied = Local((LocalTerm(leaf, 1.0),), ())
        for piece in unit.slices:
            for band in context.bands(unit, piece, lambda _leaf, _dtype: None):
                value = band.value(leaf, "scan", want.output.primary)
                checked_energy(value, unit, copied, band, None)
    want.sink.copy(want.tensor.spec.name, source.file)
