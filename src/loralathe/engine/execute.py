"""Jobs on worker threads. Each computes with one thread of its own: results do not depend on how many."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

from loralathe.engine.adapter_plan import AdapterOutput
from loralathe.engine.budget_survey import BudgetSurvey
from loralathe.engine.device import prepare_worker, prepared
from loralathe.engine.job import Cancelled, Context, Job, ModuleRequest, TensorRequest, run_job
from loralathe.engine.plan import WeightsOutput
from loralathe.engine.report import BudgetReport
from loralathe.engine.run import Session
from loralathe.engine.sinks import AdapterSink, WeightsSink
from loralathe.engine.survey import survey
from loralathe.engine.units import Unit
from loralathe.engine.workspace import ByteBudget, Workspace
from loralathe.errors import MachineError, option
from loralathe.language.expressions import ExtractLeaf
from loralathe.progress import Progress, Task
from loralathe.tensorfiles import MemoryPath


def execute(
    session: Session, sinks: Mapping[str, WeightsSink | AdapterSink], progress: Progress
) -> Mapping[ExtractLeaf, BudgetReport]:
    """Carry out the plan into `sinks`; how budgets were spent, by extraction.

    On the first error, or Ctrl-C, all workers stop and it is raised.
    """
    jobs = make_jobs(session, sinks)
    check_memory(jobs, session.options.memory)
    cancel = threading.Event()
    budget = ByteBudget(session.options.memory)
    with prepared(session.options.device), BudgetSurvey(_folder(session)) as budget_survey:
        context = Context(
            session.sources,
            session.planner.specializer,
            session.options,
            Workspace(),
            budget_survey,
            cancel.is_set,
        )

        def run(some: list[Job], title: str) -> None:
            with progress.task(title, sum(job.work for job in some)) as task:
                _run_all(some, context, budget, cancel, session.options.worker_count(), task)

        survey(session, budget_survey, run)
        run(jobs, "computing")
        return budget_survey.reports


def _folder(session: Session) -> Path | None:
    """Where a first pass keeps its factors: beside the first output, or where the system keeps such files."""
    file = session.plan.outputs[0].save.file
    if isinstance(file, MemoryPath):
        return None
    folder = Path(os.path.realpath(file)).parent
    return folder if folder.is_dir() else None


def _run_all(
    jobs: list[Job], context: Context, budget: ByteBudget, cancel: threading.Event, workers: int, task: Task
) -> None:
    def work(job: Job) -> None:
        if cancel.is_set():
            return
        budget.take(job.nbytes)
        try:
            run_job(context, job)
        except Cancelled:
            return
        finally:
            budget.give(job.nbytes)
        task.advance(job.work)

    device = context.options.device
    pool = ThreadPoolExecutor(workers, "lathe", initializer=prepare_worker, initargs=(device,))
    try:
        futures = [pool.submit(work, job) for job in jobs]
        _first_failure(futures, cancel, task)
    except BaseException:
        cancel.set()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def _first_failure(futures: list[Future[None]], cancel: threading.Event, task: Task) -> None:
    """Wait in slices, so that Ctrl-C and a cancelled run are noticed; raise the first exception."""
    waiting: set[Future[None]] = set(futures)
    while waiting:
        task.check()
        done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
        for future in done:
            error = future.exception()
            if error is not None:
                cancel.set()
                raise error


def make_jobs(session: Session, sinks: Mapping[str, WeightsSink | AdapterSink]) -> list[Job]:
    """One job for each unit that any output wants, in the order of the first output's data."""
    units: dict[tuple[str, tuple[int, ...]], Unit] = {}
    weights: dict[tuple[str, tuple[int, ...]], list[TensorRequest]] = {}
    adapters: dict[tuple[str, tuple[int, ...]], list[ModuleRequest]] = {}
    copies: dict[tuple[str, tuple[int, ...]], list[TensorRequest]] = {}
    for output in session.plan.outputs:
        sink = sinks[output.save.step]
        for unit in _units(output):
            units.setdefault((unit.name, unit.shape), unit)
        if isinstance(output, WeightsOutput):
            for tensor in output.tensors:
                want = TensorRequest(output, tensor, sink)  # type: ignore[arg-type]
                place = (tensor.unit.name, tensor.unit.shape)
                (weights if tensor.action == "compute" else copies).setdefault(place, []).append(want)
        else:
            for unit in output.units:
                adapters.setdefault((unit.name, unit.shape), []).append(
                    ModuleRequest(output, sink)  # type: ignore[arg-type]
                )
    return [
        Job(unit, tuple(weights.get(at, ())), tuple(adapters.get(at, ())), tuple(copies.get(at, ())))
        for at, unit in units.items()
    ]


def _units(output: WeightsOutput | AdapterOutput) -> Iterable[Unit]:
    if isinstance(output, WeightsOutput):
        return (tensor.unit for tensor in output.tensors)
    return output.units


def check_memory(jobs: list[Job], budget: int) -> None:
    """MachineError when one layer alone needs more than the budget."""
    largest = max(jobs, key=lambda job: job.nbytes, default=None)
    if largest is not None and largest.nbytes > budget:
        raise MachineError(
            f"the layer '{largest.unit.name}' needs {largest.nbytes >> 20} MiB, "
            f"more than the memory budget of {budget >> 20} MiB",
            where=f"a layer of {' × '.join(map(str, largest.unit.shape))} numbers",
            fix=f"give {option('memory', f'{(largest.nbytes >> 20) + 64}MiB')} or more",
        )
