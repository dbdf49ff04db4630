"""The engine's own result, tensor by tensor, held against the file: the same machine gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from loralathe.adapters import AdapterFormat, kohya_tensors
from loralathe.engine import (
    BudgetSurvey,
    Context,
    Extracted,
    ModuleRecord,
    Output,
    RowSlice,
    RowSliceJob,
    Session,
    Sinks,
    Unit,
    WeightsOutput,
    Workspace,
    adapter_format,
    make_jobs,
    survey,
    survey_budgets,
)
from loralathe.families import Module
from loralathe.language import Call, ExtractLeaf
from loralathe.lowrank import Factors
from loralathe.progress import Cancel, Progress
from loralathe.tensorfiles import DTYPES, TensorFile, TensorInfo, tensor_bytes
from loralathe.verification.reference import Matrices


@dataclass
class Replayed:
    """What the engine made of one unit.

    extracted: slice → factors of the extractions in it;  differing: tensor name → elements that the file has
    otherwise;  made: names of all tensors that the engine wrote, whether or not the file has them.
    """

    extracted: dict[RowSlice, Mapping[ExtractLeaf, Extracted]] = field(default_factory=dict)
    differing: dict[str, int] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)


class Replay:
    """Runs single jobs of a planned session; safe to use from several threads.

    budget_survey: takes what the first passes of budgets find, and is closed by whoever made it.
    stop: cancelled, it ends the jobs that run.
    """

    def __init__(
        self,
        session: Session,
        output: Output,
        file: TensorFile,
        budget_survey: BudgetSurvey,
        progress: Progress,
    ) -> None:
        self._session = session
        self._output = output
        self._file = file
        self._format: AdapterFormat | None = None
        if not isinstance(output, WeightsOutput):
            self._format = adapter_format(output, session.sources.require_family())
        self._workspace = Workspace()
        self._budget_survey = budget_survey
        self.stop = Cancel()
        context = self._context(Sinks())
        survey_budgets(session, budget_survey, lambda leaf, units: survey(context, leaf, units, progress))
        self._jobs = {(job.unit.name, job.unit.shape): job for job in make_jobs(session.plan)}

    def _context(self, sinks: Sinks) -> Context:
        return Context(
            self._session.sources,
            self._session.planner.specializer,
            self._session.options,
            self._workspace,
            self._budget_survey,
            sinks,
            self.stop,
        )

    def _sinks(self, found: Replayed) -> Sinks:
        step = self._output.save.step
        if self._format is None:
            return Sinks(weights={step: _WeightsAgainstFile(self._file, found)})
        return Sinks(adapters={step: _AdapterAgainstFile(self._file, self._format, found)})

    def memory(self, unit: Unit) -> int:
        """Bytes that running the unit's job takes."""
        return self._jobs[unit.name, unit.shape].nbytes

    def run(self, unit: Unit) -> Replayed:
        """Compute one unit as a run would; InputError for NaN, Inf or overflow."""
        found = Replayed()
        job, context = self._jobs[unit.name, unit.shape], self._context(self._sinks(found))
        if job.weights or job.adapters:
            for row_slice in unit.slices:
                work = RowSliceJob(context, job, row_slice)
                work.run()
                found.extracted[row_slice] = work.extracted
        return found

    def matrices(self, found: Replayed, row_slice: RowSlice, call: Call) -> Matrices | None:
        """The factors that the engine gave an extraction of the formula, before any rounding."""
        leaf = self._session.checker.leaf(call)
        assert isinstance(leaf, ExtractLeaf)
        extracted = found.extracted.get(row_slice, {}).get(leaf.unrounded)
        return extracted.matrices if extracted is not None else None


class _WeightsAgainstFile:
    """Takes tensors as a checkpoint file would, and counts where the file has others."""

    def __init__(self, file: TensorFile, found: Replayed) -> None:
        self._file = file
        self._found = found

    def write(self, key: str, rows: Tensor, start: int) -> None:
        info = self._file.header.tensors.get(key)
        if info is None:
            return
        _count(self._file, info, tensor_bytes(rows), start, self._found)

    def copy(self, key: str, source: TensorFile, source_key: str) -> None:
        raise AssertionError("copies are compared with their source")

    def commit(self, metadata: Mapping[str, str]) -> Path | None:
        return None

    def abort(self) -> None:
        return


class _AdapterAgainstFile:
    """The same for the tensors of an adapter."""

    def __init__(self, file: TensorFile, written: AdapterFormat, found: Replayed) -> None:
        self.records: list[ModuleRecord] = []
        self._file = file
        self._format = written
        self._found = found

    def add(self, module: Module, up: Tensor, down: Tensor, shape: tuple[int, ...]) -> None:
        for name, dtype, tensor in kohya_tensors(module.name, Factors(up, down, shape), shape, self._format):
            self._found.made.append(name)
            info = self._file.header.tensors.get(name)
            if info is None or (info.dtype, info.shape) != (dtype, tuple(tensor.shape)):
                self._found.differing[name] = tensor.numel()
            else:
                _count(self._file, info, tensor_bytes(tensor), 0, self._found)

    def record(self, record: ModuleRecord) -> None:
        self.records.append(record)

    def commit(self, metadata: Mapping[str, str]) -> Path | None:
        return None

    def abort(self) -> None:
        return


def _count(file: TensorFile, info: TensorInfo, made: memoryview, start: int, found: Replayed) -> None:
    """Add the number of elements whose bytes differ."""
    there = bytearray(made.nbytes)
    if start + made.nbytes > info.nbytes:
        found.differing[info.name] = info.numel
        return
    file.readinto(info, memoryview(there), start)
    if there != made:
        size = DTYPES[info.dtype].bits // 8
        one, other = (torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in (there, made))
        count = int((one != other).view(-1, size).any(dim=1).sum())
        found.differing[info.name] = found.differing.get(info.name, 0) + count
