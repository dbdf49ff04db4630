"""Budgets over a whole file: a first pass finds all singular values, then every module gets its rank.

A module is decomposed to a moderate depth first. Where even its last singular value found is worth its bytes,
further ones may be, too: it is decomposed again, twice as deep, until its last one found is not taken. The
ranks are those that full decompositions of all modules would give.

Singular values stay in memory; the factors wait in a file without a name, which ends with the process, so a
killed run leaves nothing. Directions lie one behind the other: a module given r of them reads r.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from loralathe.adapters import AdapterFormat, completions, kohya_specs
from loralathe.engine.extraction import Extracted
from loralathe.engine.outputs import AdapterOutput
from loralathe.engine.plan import leaf_dtype, most_of, target_dtype
from loralathe.engine.record import metadata_of
from loralathe.engine.report import BudgetReport
from loralathe.engine.session import Session
from loralathe.engine.sinks import adapter_format
from loralathe.engine.slices import RowSlice, Unit, in_scope
from loralathe.engine.words import bundled_specs
from loralathe.errors import InputError, MachineError, option
from loralathe.language import ExtractLeaf
from loralathe.lowrank import Allocation, KnapsackItem, allocate_bytes, allocate_energy
from loralathe.tensorfiles import MemoryPath, TensorSpec, adapter_file_size, read_at, tensor_bytes, write_at

FIRST_DEPTH = 64
ROUNDS = 8
"""Of fitting a file to its bytes exactly: the header's length changes a little with the ranks in it."""
ENTRY = 64
"""Bytes around a tensor's name in a header, about; what is over or missing is settled afterwards."""


@dataclass(frozen=True)
class SurveyedModule:
    """One module as the first pass saw it.

    found:    without its factors, which lie at `place` in the spool: `depth` rows of up, then of down;
    energies: s² of the directions above the noise, (k,) float64;
    most:     the largest rank allowed;  complete: whether deeper directions are noise or not allowed.
    """

    unit: Unit
    row_slice: RowSlice
    found: Extracted
    energies: Tensor
    most: int
    complete: bool
    place: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.row_slice.rows, self.unit.row_elements


class BudgetSurvey(AbstractContextManager["BudgetSurvey"]):
    """Surveys and allocations by extraction; a context manager that drops the spool.

    output: the first pass keeps its factors beside it; None: where the system keeps such files.
    """

    def __init__(self, output: Path | None) -> None:
        self._output = output
        self._spool: IO[bytes] | None = None
        self._end = 0
        self._lock = threading.Lock()
        self._surveys: dict[ExtractLeaf, dict[str, SurveyedModule]] = {}
        self._ranks: dict[ExtractLeaf, Mapping[str, int]] = {}
        self.reports: dict[ExtractLeaf, BudgetReport] = {}
        self.depths: dict[tuple[ExtractLeaf, str], int] = {}

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()

    @property
    def _folder(self) -> Path | None:
        if self._output is None or isinstance(self._output, MemoryPath):
            return None
        folder = Path(os.path.realpath(self._output)).parent
        return folder if folder.is_dir() else None

    def put(self, leaf: ExtractLeaf, unit: Unit, row_slice: RowSlice, found: Extracted, most: int) -> None:
        """Keep what was found of a module; `most` is the most that its rank may be. From any thread."""
        energies, place = torch.zeros(0, dtype=torch.float64), 0
        if found.matrices is not None:
            up, down = found.matrices
            rows = up.T.contiguous()
            # √S is on both sides, so a direction's s is the product of its lengths.
            energies = rows.double().square().sum(1) * down.double().square().sum(1)
            place = self._write(rows, down)
        depth = self.depths.get((leaf, row_slice.address.name), most)
        complete = found.rank < depth or depth >= most
        kept = replace(found, matrices=None)
        with self._lock:
            self._surveys.setdefault(leaf, {})[row_slice.address.name] = SurveyedModule(
                unit, row_slice, kept, energies, most, complete, place
            )

    def modules(self, leaf: ExtractLeaf) -> list[SurveyedModule]:
        """All modules of an extraction, by name: in an order that threads have no part in."""
        held = self._surveys.get(leaf, {})
        return [held[name] for name in sorted(held)]

    def settle(self, leaf: ExtractLeaf, ranks: Mapping[str, int], report: BudgetReport) -> None:
        """The survey is over: each module's rank, and how the budget was spent."""
        self._ranks[leaf] = ranks
        self.reports[leaf] = report

    def get(self, leaf: ExtractLeaf, row_slice: RowSlice) -> Extracted | None:
        """A module's extraction at the rank that it was given; None for what no survey covers."""
        if leaf not in self._ranks or row_slice.address.name not in self._surveys[leaf]:
            return None
        survey = self._surveys[leaf][row_slice.address.name]
        rank = self._ranks[leaf].get(row_slice.address.name, 0)
        held = len(survey.energies)
        reason = "budget" if rank < held or survey.found.reason == "requested" else survey.found.reason
        if rank == 0:
            return replace(survey.found, reason=reason, kept=0.0)
        kept = min(float(survey.energies[:rank].sum()), survey.found.energy)
        return replace(survey.found, matrices=self._read(survey, rank), reason=reason, kept=kept)

    def _write(self, up: Tensor, down: Tensor) -> int:
        with self._lock:
            if self._spool is None:
                self._spool = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            place = self._end
            self._end += 4 * (up.numel() + down.numel())
        try:
            write_at(self._spool.fileno(), tensor_bytes(up), place)
            write_at(self._spool.fileno(), tensor_bytes(down.contiguous()), place + 4 * up.numel())
        except OSError as error:
            raise MachineError(
                f"the first pass cannot be kept on disk: {error.strerror}",
                where=str(self._folder or tempfile.gettempdir()),
                fix=f"free some space there, or lower {option('rank')}",
            ) from error
        return place

    def _read(self, survey: SurveyedModule, rank: int) -> tuple[Tensor, Tensor]:
        assert self._spool is not None
        rows, columns = survey.shape
        up, down = torch.empty(rank, rows), torch.empty(rank, columns)
        where = "the factors of the first pass"
        read_at(self._spool.fileno(), tensor_bytes(up), survey.place, where)
        after = survey.place + 4 * rows * len(survey.energies)
        read_at(self._spool.fileno(), tensor_bytes(down), after, where)
        return up.T.contiguous(), down


def survey_budgets(
    session: Session, found: BudgetSurvey, survey: Callable[[ExtractLeaf, Sequence[Unit]], None]
) -> None:
    """The first passes: fills `found` for every extraction with a budget; `survey` decomposes units."""
    outputs = session.plan.outputs
    leaves = [leaf for output in outputs for leaf in output.expression.leaves]
    leaves += [output.leaf for output in outputs if isinstance(output, AdapterOutput)]
    wanted = [leaf for leaf in leaves if isinstance(leaf, ExtractLeaf) and leaf.options.budget is not None]
    # Inner ones first.
    for leaf in sorted({leaf.unrounded: None for leaf in wanted}, key=lambda leaf: leaf.expression.level):
        allocator = _allocator(session, leaf)
        waiting = [unit for unit in allocator.units if any(in_scope(s, leaf.options) for s in unit.slices)]
        for unit in waiting:
            for row_slice in unit.slices:
                depth = min(FIRST_DEPTH, most_of(leaf, unit, row_slice))
                found.depths[leaf, row_slice.address.name] = depth
        while waiting:
            survey(leaf, waiting)
            ranks, allocation, unsettled = allocator.allocate(found.modules(leaf))
            for module in unsettled:
                place = (leaf, module.row_slice.address.name)
                found.depths[place] = min(2 * found.depths[place], module.most)
            waiting = list({module.unit.name: module.unit for module in unsettled}.values())
        found.settle(leaf, ranks, allocator.report(found.modules(leaf), allocation))


@dataclass(frozen=True)
class _BudgetAllocator:
    """Shares out one extraction's budget, in the bytes of the file that it is saved to."""

    session: Session
    leaf: ExtractLeaf
    output: AdapterOutput
    units: Sequence[Unit]

    def allocate(
        self, modules: Sequence[SurveyedModule]
    ) -> tuple[Mapping[str, int], Allocation, Sequence[SurveyedModule]]:
        """Ranks by module; the allocation; and the modules that must be searched deeper first."""
        budget = self.leaf.options.budget
        assert budget is not None
        items = [self._item(module) for module in modules]
        if budget.kind == "energy":
            allocation = allocate_energy(items, budget.amount * self._signal(modules))
        else:
            allocation = self._fitting(modules, items, int(budget.amount))
        taken = zip(modules, allocation.ranks, strict=True)
        unsettled = [module for module, rank in taken if rank == len(module.energies) and not module.complete]
        names = [module.row_slice.address.name for module in modules]
        return dict(zip(names, allocation.ranks, strict=True)), allocation, unsettled

    def report(self, modules: Sequence[SurveyedModule], allocation: Allocation) -> BudgetReport:
        budget, signal = self.leaf.options.budget, self._signal(modules)
        assert budget is not None
        share = min(allocation.kept / signal, 1.0) if signal else 1.0
        missed = budget.kind == "energy" and share < budget.amount * (1 - 1e-9)
        return BudgetReport(
            str(budget), share, allocation.marginal_density / signal if signal else 0.0, missed
        )

    def _signal(self, modules: Sequence[SurveyedModule]) -> float:
        """Energy in scope above what rounding explains: what an energy budget is a share of."""
        return sum(signal_energy(module, self.leaf.options.keep_noise) for module in modules)

    def _item(self, module: SurveyedModule) -> KnapsackItem:
        one, two = (sum(spec.nbytes for spec in self._specs(module, rank)) for rank in (1, 2))
        names = sum(len(spec.name) + ENTRY for spec in self._specs(module, 1))
        return KnapsackItem(module.energies, two - one, one - (two - one) + names)

    @cached_property
    def _format(self) -> AdapterFormat:
        return adapter_format(self.output, self.session.sources.require_family())

    def _specs(self, module: SurveyedModule, rank: int) -> list[TensorSpec]:
        return list(kohya_specs(module.row_slice.address.name, rank, _weight_shape(module), self._format))

    def _fitting(
        self, modules: Sequence[SurveyedModule], items: Sequence[KnapsackItem], limit: int
    ) -> Allocation:
        """The best allocation whose file, header included, has at most `limit` bytes."""
        aim, best = limit, None
        fits, exceeds = 0, 2 * limit
        for _ in range(ROUNDS):
            found = allocate_bytes(items, aim)
            slack = limit - self._file_size(modules, found.ranks)
            if slack >= 0 and (best is None or found.kept > best.kept):
                best = found
            # Whatever aims at these bytes or more would take them again.
            fits, exceeds = (max(fits, aim), exceeds) if slack >= 0 else (fits, min(exceeds, found.nbytes))
            if slack == 0 or exceeds - fits <= 1:
                break
            # Room left is offered again; what is over the limit must go, with a little to spare. Where that
            # was tried before, half way is next.
            aim += slack if slack >= 0 else 2 * slack
            if not fits < aim < exceeds:
                aim = (fits + exceeds) // 2
        if best is None or not any(best.ranks):
            if all(len(module.energies) == 0 for module in modules):
                return allocate_bytes(items, limit)
            least = min(self._file_size(modules, one) for one in _single_ranks(modules))
            raise InputError(
                f"a file of {limit:,} bytes holds no direction of any layer",
                where=f"step '{self.output.save.step}'",
                fix=f"the smallest that holds one has {least:,} bytes",
            )
        return best

    def _file_size(self, modules: Sequence[SurveyedModule], ranks: Sequence[int]) -> int:
        specs = [
            spec
            for module, rank in zip(modules, ranks, strict=True)
            if rank
            for spec in self._specs(module, rank)
        ]
        taken = zip(modules, ranks, strict=True)
        written = {module.row_slice.address.name: _weight_shape(module) for module, rank in taken if rank}
        for name, shape in completions(written, self._format).items():
            specs += kohya_specs(name, 1, shape, self._format)
        specs += bundled_specs(self.session, self.output)
        return adapter_file_size(specs, metadata_of(self.session, self.output))


def _weight_shape(module: SurveyedModule) -> tuple[int, ...]:
    return (module.row_slice.rows, *module.unit.shape[1:])


def signal_energy(module: SurveyedModule, keep_noise: bool) -> float:
    """‖Δ‖² of a module less the expected energy of its inputs' rounding."""
    noise = 0.0 if keep_noise else module.found.noise.energy
    return max(module.found.energy - noise, 0.0)


def _single_ranks(modules: Sequence[SurveyedModule]) -> list[list[int]]:
    return [
        [int(i == j) for j in range(len(modules))] for i, module in enumerate(modules) if len(module.energies)
    ]


def _allocator(session: Session, leaf: ExtractLeaf) -> _BudgetAllocator:
    """Bytes are those of the file the extraction is saved to; one that is not saved counts as if it were.

    A share of the energy is bought at the prices of fp16, so that a step means the same however it is saved.
    """
    budget = leaf.options.budget
    saved = (o for o in session.plan.outputs if isinstance(o, AdapterOutput) and o.leaf.unrounded == leaf)
    output = next(saved, None)
    if output is None:
        name = session.recipe.saves[0].step
        dtype = target_dtype(leaf_dtype(_as_rounded(session, leaf)), name) or "F16"
        units = session.planner.extraction_units(leaf)
        output = AdapterOutput(session.plan.outputs[0].save, leaf, dtype, units, "epsilon", {})
    if budget is not None and budget.kind == "energy":
        output = replace(output, dtype="F16")
    return _BudgetAllocator(session, leaf, output, output.units)


def _as_rounded(session: Session, leaf: ExtractLeaf) -> ExtractLeaf:
    """The leaf as formulas use it: with the dtype that it is rounded to."""
    for output in session.plan.outputs:
        for inner in output.expression.leaves:
            if isinstance(inner, ExtractLeaf) and inner.unrounded == leaf:
                return inner
    return leaf
