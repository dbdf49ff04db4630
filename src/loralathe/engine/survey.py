"""Budgets over a whole file: a first pass finds all singular values, then every module gets its rank.

A module is decomposed to a moderate depth first. Where even its last value found is worth its bytes, it may
have more of that worth, so it is decomposed again, twice as deep, until the price parts what is taken from
what is known to be cheaper. The outcome is that of all full decompositions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from loralathe.adapters import kohya_specs
from loralathe.engine.adapter_plan import AdapterOutput, most_of
from loralathe.engine.budget_survey import BudgetSurvey, Surveyed
from loralathe.engine.job import Job, SurveyWant
from loralathe.engine.plan import WeightsOutput, leaf_dtype, target_dtype
from loralathe.engine.record import UNKNOWN_HASH
from loralathe.engine.report import BudgetReport
from loralathe.engine.run import Session, metadata_of
from loralathe.engine.sinks import adapter_format
from loralathe.engine.specialize import in_scope
from loralathe.engine.units import Unit
from loralathe.errors import InputError
from loralathe.language.expressions import ExtractLeaf, LinearExpression, walk
from loralathe.lowrank import Allocation, KnapsackItem, allocate_bytes, allocate_energy
from loralathe.tensorfiles import TensorSpec, adapter_file_size

FIRST_DEPTH = 64
ROUNDS = 8
"""Of fitting a file to its bytes exactly: the header's length changes a little with the ranks in it."""

RunJobs = Callable[[list[Job], str], None]


def budget_leaves(session: Session) -> list[ExtractLeaf]:
    """Extractions with a budget that any output needs, inner ones first."""
    found: dict[ExtractLeaf, None] = {}
    for output in session.plan.outputs:
        expression = output.expression if isinstance(output, WeightsOutput) else output.leaf.expression
        leaves = (
            [*walk(expression)] if isinstance(output, WeightsOutput) else [*walk(expression), output.leaf]
        )
        for leaf in leaves:
            if isinstance(leaf, ExtractLeaf) and leaf.options.budget is not None:
                found[leaf.unrounded] = None
    return sorted(found, key=lambda leaf: leaf.expression.level)


def survey(session: Session, budget_survey: BudgetSurvey, run: RunJobs) -> None:
    """The first passes: fills `budget_survey` for every extraction with a budget; `run` carries out jobs."""
    for leaf in budget_leaves(session):
        allocator = _allocator(session, leaf)
        waiting = [unit for unit in allocator.units if any(in_scope(s, leaf.options) for s in unit.slices)]
        for unit in waiting:
            for row_slice in unit.slices:
                budget_survey.depths[leaf, row_slice.address.name] = min(
                    FIRST_DEPTH, most_of(leaf, unit, row_slice)
                )
        while waiting:
            want = SurveyWant(leaf, budget_survey)
            run([Job(unit, (), (), (), (want,)) for unit in waiting], "finding singular values")
            ranks, allocation, unsettled = allocator.allocate(budget_survey.surveys(leaf))
            for module in unsettled:
                place = (leaf, module.row_slice.address.name)
                budget_survey.depths[place] = min(2 * budget_survey.depths[place], module.most)
            waiting = list({module.unit.name: module.unit for module in unsettled}.values())
        budget_survey.settle(leaf, ranks, allocator.report(budget_survey.surveys(leaf), allocation))


@dataclass(frozen=True)
class _BudgetAllocator:
    """Shares out one extraction's budget, in the bytes of the file that it is saved to."""

    session: Session
    leaf: ExtractLeaf
    output: AdapterOutput
    units: Sequence[Unit]

    def allocate(
        self, modules: Sequence[Surveyed]
    ) -> tuple[Mapping[str, int], Allocation, Sequence[Surveyed]]:
        """Ranks by module; the allocation; and the modules that must be searched deeper first."""
        budget = self.leaf.options.budget
        assert budget is not None
        items = [self._offer(module) for module in modules]
        if budget.kind == "energy":
            allocation = allocate_energy(items, budget.amount * self._signal(modules))
        else:
            allocation = self._fitting(modules, items, int(budget.amount))
        taken = zip(modules, allocation.ranks, strict=True)
        unsettled = [module for module, rank in taken if rank == len(module.energies) and not module.complete]
        names = [module.row_slice.address.name for module in modules]
        return dict(zip(names, allocation.ranks, strict=True)), allocation, unsettled

    def report(self, modules: Sequence[Surveyed], allocation: Allocation) -> BudgetReport:
        budget, signal = self.leaf.options.budget, self._signal(modules)
        assert budget is not None
        share = min(allocation.kept / signal, 1.0) if signal else 1.0
        missed = budget.kind == "energy" and share < budget.amount * (1 - 1e-9)
        return BudgetReport(
            str(budget), share, allocation.marginal_density / signal if signal else 0.0, missed
        )

    def _signal(self, modules: Sequence[Surveyed]) -> float:
        """Energy in scope above what rounding explains: what an energy budget is a share of."""
        return sum(signal_energy(module, self.leaf.options.keep_noise) for module in modules)

    def _offer(self, module: Surveyed) -> KnapsackItem:
        one, two = (sum(spec.nbytes for spec in self._specs(module, rank)) for rank in (1, 2))
        names = sum(len(spec.name) + _ENTRY for spec in self._specs(module, 1))
        return KnapsackItem(module.energies, two - one, one - (two - one) + names)

    def _specs(self, module: Surveyed, rank: int) -> list[TensorSpec]:
        assert module.row_slice.module is not None
        assert self.session.sources.family is not None
        expression = adapter_format(self.output, self.session.sources.family)
        shape = (module.row_slice.rows, *module.unit.shape[1:])
        return list(kohya_specs(module.row_slice.module.name, rank, shape, expression))

    def _fitting(self, modules: Sequence[Surveyed], items: Sequence[KnapsackItem], limit: int) -> Allocation:
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

    def _file_size(self, modules: Sequence[Surveyed], ranks: Sequence[int]) -> int:
        specs = [
            spec
            for module, rank in zip(modules, ranks, strict=True)
            if rank
            for spec in self._specs(module, rank)
        ]
        hashes = dict.fromkeys(self.session.plan.inputs, UNKNOWN_HASH)
        wanted = hashes if self.session.options.hash_inputs else None
        return adapter_file_size(specs, metadata_of(self.session, self.output, wanted))


_ENTRY = 64
"""Bytes around a tensor's name in a header, about; what is over or missing is settled afterwards."""


def signal_energy(module: Surveyed, keep_noise: bool) -> float:
    """‖Δ‖² of a module less the expected energy of its inputs' rounding."""
    noise = 0.0 if keep_noise else module.found.noise.energy
    return max(module.found.energy - noise, 0.0)


def _single_ranks(modules: Sequence[Surveyed]) -> list[list[int]]:
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
        dtype = target_dtype(leaf_dtype(_rounded_form(session, leaf)), name) or "F16"
        units = session.planner.extraction_units(leaf)
        output = AdapterOutput(session.plan.outputs[0].save, leaf, dtype, units, "epsilon", {})
    if budget is not None and budget.kind == "energy":
        output = replace(output, dtype="F16")
    return _BudgetAllocator(session, leaf, output, output.units)


def _rounded_form(session: Session, leaf: ExtractLeaf) -> ExtractLeaf:
    """The leaf as formulas use it: with the dtype that it is rounded to."""
    expressions: list[LinearExpression] = [
        o.expression for o in session.plan.outputs if isinstance(o, WeightsOutput)
    ]
    expressions += [o.leaf.expression for o in session.plan.outputs if isinstance(o, AdapterOutput)]
    for expression in expressions:
        for inner in walk(expression):
            if isinstance(inner, ExtractLeaf) and inner.unrounded == leaf:
                return inner
    return leaf
