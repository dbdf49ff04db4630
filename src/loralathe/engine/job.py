"""One unit of work: a tensor, and what every output asks of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from loralathe.engine.budgets import BudgetSurvey
from loralathe.engine.evaluate import BAND, Band, LoadFactors, Prepare, no_factors, no_methods
from loralathe.engine.held import HeldSums
from loralathe.engine.options import RunOptions
from loralathe.engine.outputs import AdapterOutput, Plan, TensorPlan, WeightsOutput
from loralathe.engine.sinks import Sinks
from loralathe.engine.slices import RowSlice, Specializer, Unit, is_dense
from loralathe.engine.sources import Sources
from loralathe.engine.workers import Workspace
from loralathe.families import FACTORED
from loralathe.language import AdapterLeaf, ExtractLeaf, MethodLeaf
from loralathe.progress import Cancel

BAND_BYTES = 2 << 20
"""Scratch that one leaf takes in a worker: a band in its own dtype and in fp32."""


@dataclass(frozen=True)
class TensorRequest:
    """A tensor of the checkpoint that a step is saved as."""

    step: str
    tensor: TensorPlan


@dataclass(frozen=True)
class Job:
    """A unit with the tensors to compute of it, the adapters that its modules belong to, tensors to copy.

    surveys: extractions with a budget that look at this unit in their first pass.
    """

    unit: Unit
    weights: tuple[TensorRequest, ...] = ()
    adapters: tuple[AdapterOutput, ...] = ()
    copies: tuple[TensorRequest, ...] = ()
    surveys: tuple[ExtractLeaf, ...] = ()

    @property
    def nbytes(self) -> int:
        """Estimate of the memory that it takes: bands, and for extractions the delta with its workspace."""
        expressions = [request.tensor.expression for request in self.weights]
        expressions += [output.leaf.expression for output in self.adapters]
        expressions += [leaf.expression for leaf in self.surveys]
        leaves = {leaf for expression in expressions for leaf in expression.leaves}
        extractions = sum(isinstance(leaf, ExtractLeaf) for leaf in leaves)
        extractions += len(self.adapters) + len(self.surveys)
        layers = [
            row_slice
            for row_slice in self.unit.slices
            if row_slice.module and row_slice.module.scope in FACTORED
        ]
        rows = max((row_slice.rows for row_slice in layers), default=0)
        # A method is prepared in buffers of its own, while a band is half made.
        made = [leaf for leaf in leaves if isinstance(leaf, (AdapterLeaf, MethodLeaf)) and is_dense(leaf)]
        buffers = len(leaves) + 3 + sum(len(leaves) + leaf.scratch for leaf in made)
        return buffers * BAND_BYTES + extractions * 8 * rows * self.unit.row_elements

    @property
    def work(self) -> int:
        """Bytes of the tensor, for progress."""
        return max(1, 2 * self.unit.numel)


def make_jobs(plan: Plan) -> list[Job]:
    """One job for each unit that any output needs, in the order of the first output's data."""
    jobs: dict[tuple[str, tuple[int, ...]], Job] = {}
    for output in plan.outputs:
        if isinstance(output, WeightsOutput):
            for tensor in output.tensors:
                place = tensor.unit.name, tensor.unit.shape
                request = TensorRequest(output.save.step, tensor)
                job = jobs.get(place) or Job(tensor.unit)
                if tensor.action == "compute":
                    jobs[place] = replace(job, weights=(*job.weights, request))
                else:
                    jobs[place] = replace(job, copies=(*job.copies, request))
        else:
            for unit in output.units:
                job = jobs.get((unit.name, unit.shape)) or Job(unit)
                jobs[unit.name, unit.shape] = replace(job, adapters=(*job.adapters, output))
    return list(jobs.values())


@dataclass(frozen=True)
class Context:
    """What all jobs of a run share; safe to use from all threads.

    held: by step, takes what saved checkpoints hold of what is added; steps without are not measured.
    """

    sources: Sources
    specializer: Specializer
    options: RunOptions
    workspace: Workspace
    budget_survey: BudgetSurvey
    sinks: Sinks
    stop: Cancel
    held: Mapping[str, HeldSums] = field(default_factory=dict)

    def bands(
        self,
        unit: Unit,
        row_slice: RowSlice,
        factors: LoadFactors = no_factors,
        prepare: Prepare = no_methods,
        workspace: Workspace | None = None,
    ) -> Iterable[Band]:
        """The slice's rows, at most BAND elements at a time; raises Cancelled when the run is over."""
        space = self.workspace if workspace is None else workspace
        step = max(1, BAND // max(1, unit.row_elements))
        for start in range(row_slice.start, row_slice.stop, step):
            self.stop.check()
            rows = start, min(start + step, row_slice.stop)
            yield Band(self.sources, self.specializer, space, unit, row_slice, rows, factors, prepare)
