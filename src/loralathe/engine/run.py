"""From a recipe to results: open, type, plan, check, run on all cores, commit."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from loralathe.engine.adapter_notes import adapter_notes
from loralathe.engine.coverage import missing_components
from loralathe.engine.options import RunOptions, check_device
from loralathe.engine.plan import Output, Plan, Planner, WeightsOutput, plan_coverage
from loralathe.engine.record import IN_MEMORY, KEY, UNKNOWN_HASH, make_record, output_metadata
from loralathe.engine.report import BudgetReport, ExtractionReport, ModuleRecord, Report, WeightsReport
from loralathe.engine.sidecars import CONFIG, config_target
from loralathe.engine.sources import Sources
from loralathe.errors import InputError, MachineError
from loralathe.families import Family
from loralathe.language import Recipe, used_names
from loralathe.language.checker import TypeChecker
from loralathe.language.expressions import ExtractLeaf, LinearExpression
from loralathe.progress import Cancel, Progress
from loralathe.strengths import BlockWeights, parse_block_weights, parse_elements
from loralathe.tensorfiles import MemoryPath, check_output, content_hash, free_space, remove_stale


@dataclass
class Session:
    """A recipe with its inputs open, typed and planned: all that headers can tell; a context manager."""

    recipe: Recipe
    options: RunOptions
    sources: Sources
    plan: Plan
    planner: Planner
    checker: TypeChecker
    expressions: Mapping[str, LinearExpression] = field(default_factory=dict)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.sources.close()


def open_session(recipe: Recipe, options: RunOptions | None = None) -> Session:
    """Open the inputs that the saved steps need, type and plan; no tensor is read.

    Raises InputError for everything that headers can tell: unknown or damaged files, mixed
    families, shapes, coverage, types of formulas, block lists, a device that is not there.
    """
    options = options or RunOptions()
    check_device(options.device)
    needed = used_names(recipe)
    sources = Sources({name: path for name, path in recipe.inputs.items() if name in needed})
    try:
        return _plan(recipe, options, sources)
    except BaseException:
        sources.close()
        raise


def _plan(recipe: Recipe, options: RunOptions, sources: Sources) -> Session:
    warnings = sources.warnings()
    checker = TypeChecker(
        recipe,
        sources.kinds,
        lambda text: resolve_blocks(text, sources, recipe, options, warnings),
        lambda text: parse_elements(text, require_family(sources)),
        lambda: require_family(sources),
        lambda adapter: sources.adapters[adapter].modules,
    )
    expressions = {save.step: checker.step(save.step) for save in recipe.saves}
    planner = Planner(sources, options)
    coverage = plan_coverage(list(expressions.values()), sources, options)
    outputs = tuple(planner.output(save, expressions[save.step]) for save in recipe.saves)
    warnings += (
        text for expression in expressions.values() for text in missing_components(expression, sources)
    )
    sizes = {name: file.header.file_size for name, file in sources.files.items()}
    plan = Plan(outputs, sources.paths, coverage, tuple(dict.fromkeys(warnings)), sizes)
    return Session(recipe, options, sources, plan, planner, checker, expressions)


def resolve_blocks(
    text: str, sources: Sources, recipe: Recipe, options: RunOptions, warnings: list[str]
) -> BlockWeights:
    """Block weights for the family at hand, with the person's policy for missing blocks."""
    family = require_family(sources)
    weights = parse_block_weights(text, family, {**options.presets, **recipe.blocks})
    if weights.unused:
        label = family.label
        warnings.append(f"{label} has no blocks {' '.join(weights.unused)}; their weights are not used")
    missing = options.missing_blocks
    return weights if missing is None else weights.with_missing(float(missing))


def require_family(sources: Sources) -> Family:
    """The family of the inputs; every recipe that names blocks has at least one."""
    if sources.family is None:
        raise InputError(
            "the recipe uses no model and no adapter", fix="name at least one input in a saved step"
        )
    return sources.family


def run_recipe(recipe: Recipe, options: RunOptions | None = None, progress: Progress | None = None) -> Report:
    """Make every saved step of a recipe; the outputs appear whole at the end, or not at all.

    Raises InputError for the person's mistakes, MachineError for a full disk or too little memory.
    """
    with open_session(recipe, options) as session:
        return run_session(session, progress)


def run_session(session: Session, progress: Progress | None = None) -> Report:
    """Run a planned session; see `run_recipe`."""
    progress = progress or Progress()
    started = time.monotonic()
    # Before torch is imported, so that "the output exists" comes at once.
    check_outputs(session)

    from loralathe.engine.execute import execute
    from loralathe.engine.sinks import AdapterSink, WeightsSink, make_sink

    hasher = _Hasher(session)
    inputs = list(session.plan.inputs.values())
    sinks: dict[str, WeightsSink | AdapterSink] = {}
    with ExitStack() as stack:
        hasher.start()
        stack.callback(hasher.stop)
        for output in session.plan.outputs:
            metadata = metadata_of(session, output, hasher.placeholders())
            sink = make_sink(output, session.sources.family, metadata, inputs, session.options)
            stack.callback(sink.abort)
            sinks[output.save.step] = sink
        budgets = execute(session, sinks, progress)
        hashes = hasher.finish()
        paths: dict[str, Path | None] = {}
        try:
            for output in session.plan.outputs:
                paths[output.save.step] = sinks[output.save.step].commit(metadata_of(session, output, hashes))
        except BaseException:
            # All or nothing: outputs already renamed in this run go, too, unless they replaced something.
            if not session.options.force:
                for output in session.plan.outputs:
                    for path in _named(output, paths):
                        path.unlink(missing_ok=True)
            raise
    return make_report(session, sinks, paths, time.monotonic() - started, budgets)


def _named(output: Output, paths: Mapping[str, Path | None]) -> list[Path]:
    """Files of an output that have their names already; the one that failed named its config at most."""
    if output.save.step not in paths:
        return []
    path = paths[output.save.step]
    config = isinstance(output, WeightsOutput) and output.config is not None
    return [*([path] if path else []), *([config_target(output.save.file)] if config else [])]


def metadata_of(session: Session, output: Output, hashes: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata for one output, with the given input hashes."""
    record = make_record(session.recipe, output, session.options, hashes, session.plan)
    inherited = output.metadata if isinstance(output, WeightsOutput) else adapter_notes(session, output)
    found = output_metadata(output, record, inherited)
    if output.save.adapter_metadata == "minimal":
        found.pop(KEY)
    return found


def check_outputs(session: Session) -> None:
    """All that can be known of the outputs' places before work begins, free space included."""
    inputs = list(session.plan.inputs.values())
    seen: dict[Path, str] = {}
    need: dict[Path, int] = {}
    for output in session.plan.outputs:
        path = output.save.file
        if isinstance(path, MemoryPath):
            continue
        # Before anything is refused: a run killed while it named its output left a second name behind.
        place = Path(os.path.realpath(path))  # Path.resolve is an error where links go in a circle
        remove_stale(place)
        check_output(path, inputs, session.options.force)
        if isinstance(output, WeightsOutput) and output.config is not None:
            config = config_target(path)
            remove_stale(Path(os.path.realpath(config)))
            check_output(config, [*inputs, output.config], session.options.force, suffix=CONFIG)
        other = seen.setdefault(place, output.save.step)
        if other != output.save.step:
            raise InputError(
                "two steps are saved to one file", where=f"{path}: '{other}', '{output.save.step}'"
            )
        size = output.nbytes if isinstance(output, WeightsOutput) else 0
        need[place.parent] = need.get(place.parent, 0) + size
    for folder, size in need.items():
        free = free_space(folder)
        if size > free:
            raise MachineError(
                f"not enough disk space: {size / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free",
                where=str(folder),
                fix="free some space, or choose another folder with -o",
            )


def make_report(
    session: Session,
    sinks: Mapping[str, object],
    paths: Mapping[str, Path | None],
    seconds: float,
    budgets: Mapping[ExtractLeaf, BudgetReport] = MappingProxyType({}),
) -> Report:
    """Counts and energies of a finished run."""
    weights, extractions = [], []
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
            records = sorted(sinks[step].records, key=_report_order)  # type: ignore[attr-defined]
            spent = budgets.get(output.leaf.unrounded)
            extractions.append(
                ExtractionReport(step, paths.get(step), tuple(records), output.one_rank, spent)
            )
    tensors = {
        output.save.step: sinks[output.save.step].tensors  # type: ignore[attr-defined]
        for output in session.plan.outputs
        if isinstance(output.save.file, MemoryPath)
    }
    coverage, warnings = session.plan.coverage, session.plan.warnings
    return Report(tuple(weights), tuple(extractions), coverage, warnings, seconds, tensors)


def _report_order(record: ModuleRecord) -> tuple[int, str, str]:
    """Blocks in the order of the model, then names."""
    stages = ("TE", "CLIP", "T5", "IN", "D", "S", "MID", "OUT", "no block", "VAE")
    stage = next((i for i, stage in enumerate(stages) if record.block.startswith(stage)), len(stages))
    return stage, record.block, record.name


class _Hasher:
    """Content hashes of the inputs, computed beside the work, for the record in the outputs."""

    def __init__(self, session: Session) -> None:
        self._paths = session.plan.inputs
        self._wanted = session.options.hash_inputs
        self._pool: ThreadPoolExecutor | None = None
        self._found: dict[str, Future[str]] = {}
        self._cancel = Cancel()

    def placeholders(self) -> dict[str, str] | None:
        if not self._wanted:
            return None
        return {
            name: IN_MEMORY if isinstance(path, MemoryPath) else UNKNOWN_HASH
            for name, path in self._paths.items()
        }

    def start(self) -> None:
        if self._wanted:
            self._pool = ThreadPoolExecutor(1, "hash")
            watch = Progress(cancel=self._cancel)
            for name, path in self._paths.items():
                if not isinstance(path, MemoryPath):
                    self._found[name] = self._pool.submit(content_hash, path, progress=watch)

    def finish(self) -> dict[str, str] | None:
        known = self.placeholders()
        return None if known is None else known | {name: one.result() for name, one in self._found.items()}

    def stop(self) -> None:
        """A failed or interrupted run does not wait for gigabytes to be hashed."""
        self._cancel.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
