"""A plan carried out on worker threads: first passes of budgets, then every tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loralathe.engine.budgets import BudgetSurvey, survey_budgets
from loralathe.engine.held import HeldSums
from loralathe.engine.job import Context, Job, make_jobs
from loralathe.engine.report import BudgetReport
from loralathe.engine.row_slice import run_job
from loralathe.engine.session import Session
from loralathe.engine.sinks import Sinks
from loralathe.engine.slices import Unit
from loralathe.engine.workers import Workspace, in_parallel, prepared
from loralathe.errors import MachineError, option
from loralathe.language import ExtractLeaf
from loralathe.progress import Cancel, Progress


def execute(
    session: Session, sinks: Sinks, progress: Progress, held: Mapping[str, HeldSums] | None = None
) -> Mapping[ExtractLeaf, BudgetReport]:
    """Carry out the plan into `sinks`; how budgets were spent, by extraction.

    held: by step, takes what checkpoints hold of what is added.

    On the first error, or Ctrl-C, all workers stop and it is raised.
    """
    options, specializer = session.options, session.planner.specializer
    jobs = make_jobs(session.plan)
    check_memory(jobs, options.memory)
    with prepared(options.device), BudgetSurvey(session.plan.outputs[0].save.file) as found:
        context = Context(
            session.sources, specializer, options, Workspace(), found, sinks, Cancel(), held or {}
        )
        survey_budgets(session, found, lambda leaf, units: survey(context, leaf, units, progress))
        _run(context, jobs, "computing", progress)
        return found.reports


def survey(context: Context, leaf: ExtractLeaf, units: Sequence[Unit], progress: Progress) -> None:
    """The first pass of an extraction with a budget: fills `context.budget_survey` for these units."""
    _run(context, [Job(unit, surveys=(leaf,)) for unit in units], "finding singular values", progress)


def _run(context: Context, jobs: Sequence[Job], title: str, progress: Progress) -> None:
    options = context.options
    with progress.task(title, sum(job.work for job in jobs)) as task:
        in_parallel(
            jobs,
            lambda job: run_job(context, job),
            lambda job: job.work,
            task,
            options.threads,
            lambda job: job.nbytes,
            limit=options.memory,
            device=options.device,
            stop=context.stop,
        )


def check_memory(jobs: Sequence[Job], budget: int) -> None:
    """MachineError when one layer alone needs more than the budget."""
    largest = max(jobs, key=lambda job: job.nbytes, default=None)
    if largest is not None and largest.nbytes > budget:
        raise MachineError(
            f"the layer '{largest.unit.name}' needs {largest.nbytes >> 20} MiB, "
            f"more than the memory budget of {budget >> 20} MiB",
            where=f"a layer of {' × '.join(map(str, largest.unit.shape))} numbers",
            fix=f"give {option('memory', f'{(largest.nbytes >> 20) + 64}MiB')} or more",
        )
