"""From a planned recipe to its results: files and a report, or tensors in memory for those who only look."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.engine.held import HeldSums
from loralathe.engine.options import RunOptions
from loralathe.engine.outputs import AdapterOutput, Output, WeightsOutput
from loralathe.engine.record import metadata_of
from loralathe.engine.report import Report, make_report
from loralathe.engine.session import Session, check_outputs, open_session
from loralathe.engine.sidecars import config_target
from loralathe.engine.words import bundled_words
from loralathe.errors import InputError
from loralathe.language import Recipe, Save, added_parts, used_names
from loralathe.progress import Cancel, Progress
from loralathe.tensorfiles import MemoryPath, content_hash, made_folders

if TYPE_CHECKING:
    import torch

    from loralathe.engine.sinks import AdapterSink, WeightsSink


def run_recipe(
    recipe: Recipe,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    begins: Callable[[], None] | None = None,
) -> Report:
    """Make every saved step of a recipe; the outputs appear whole at the end, or not at all.

    begins: called once all that headers can tell is checked, before the first tensor is read.

    Raises InputError for the person's mistakes, MachineError for a full disk or too little memory.
    """
    with open_session(recipe, options) as session:
        return run_session(session, progress, begins)


def run_session(
    session: Session, progress: Progress | None = None, begins: Callable[[], None] | None = None
) -> Report:
    """Run a planned session; see `run_recipe`."""
    started = time.monotonic()
    # Before torch is imported, so that "the output exists" comes at once.
    check_outputs(session, force=session.options.force)

    from loralathe.engine.execute import execute
    from loralathe.engine.kinship import remarks_on_inputs
    from loralathe.engine.sinks import Sinks, adapter_sink, weights_sink
    from loralathe.engine.workers import beside

    inputs, family = list(session.plan.inputs.values()), session.sources.require_family()
    weights, adapters = {}, {}
    with ExitStack() as stack:
        stack.enter_context(made_folders(_files(session)))
        hashes = stack.enter_context(beside(lambda stop: _content_hashes(session, stop)))
        for output in session.plan.outputs:
            step, metadata = output.save.step, metadata_of(session, output)
            if isinstance(output, WeightsOutput):
                weights[step] = weights_sink(output, metadata, inputs, session.options)
                stack.callback(weights[step].abort)
            else:
                adapters[step] = adapter_sink(output, family, inputs, session.options)
                stack.callback(adapters[step].abort)
        held = held_sums(session)
        if begins is not None:
            begins()
        budgets = execute(session, Sinks(weights, adapters), progress or Progress(), held)
        for output in session.plan.outputs:
            for file, info in bundled_words(session, output) if isinstance(output, AdapterOutput) else ():
                adapters[output.save.step].keep(info.name, info.dtype, file.read(info.name))
        sinks, found = weights | adapters, hashes.result()
        session.sources.require_unchanged()
        paths = _commit(session, sinks, found)
    records = {step: sink.records for step, sink in adapters.items()}
    completed = {step: sink.completed for step, sink in adapters.items()}
    tensors = {step: sink.tensors for step, sink in sinks.items() if sink.tensors}
    rounding = {step: sums.report() for step, sums in held.items()}
    remarks = {output.save.step: remarks_on_inputs(session, output, found) for output in session.plan.outputs}
    seconds = time.monotonic() - started
    return make_report(session, paths, records, budgets, completed, tensors, rounding, remarks, seconds)


def held_sums(session: Session) -> dict[str, HeldSums]:
    """By step, what takes the sums of each checkpoint output; parts that are steps have the step's name."""
    found = {}
    for output in session.plan.outputs:
        if isinstance(output, WeightsOutput):
            step = output.save.step
            used = used_names(session.recipe, (step,)) - {step}
            named = session.checker.leaves_of_steps(name for name in session.recipe.steps if name in used)
            found[step] = HeldSums(added_parts(output.expression, named))
    return found


def _files(session: Session) -> list[Path]:
    files = [output.save.file for output in session.plan.outputs]
    return [file for file in files if not isinstance(file, MemoryPath)]


def _content_hashes(session: Session, stop: Cancel) -> dict[str, str]:
    """Of all inputs, for the record in the outputs; a failed run does not wait for gigabytes to be hashed."""
    files = session.plan.inputs if session.options.hash_inputs else {}
    return {
        name: content_hash(path, progress=Progress(cancel=stop))
        for name, path in files.items()
        if not isinstance(path, MemoryPath)
    }


def _commit(
    session: Session, sinks: Mapping[str, WeightsSink | AdapterSink], hashes: Mapping[str, str]
) -> dict[str, Path | None]:
    """Give all outputs their names, or none of them; those that replaced something stay."""
    paths: dict[str, Path | None] = {}
    try:
        for output in session.plan.outputs:
            step = output.save.step
            paths[step] = sinks[step].commit(metadata_of(session, output, hashes))
    except BaseException:
        if not session.options.force:
            for output in session.plan.outputs:
                for path in _named(output, paths):
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise
    return paths


def _named(output: Output, paths: Mapping[str, Path | None]) -> list[Path]:
    """Files of an output that have their names already; the one that failed named its config at most."""
    if output.save.step not in paths:
        return []
    path = paths[output.save.step]
    config = isinstance(output, WeightsOutput) and output.config is not None
    return [*([path] if path else []), *([config_target(output.save.file)] if config else [])]


def evaluate_weights(
    recipe: Recipe,
    step: str,
    *,
    dtype: str | None = None,
    vae: Path | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """The checkpoint that `step` stands for, tensor by tensor, as a saved file would hold it.

    dtype, vae: as in [save]; without them each tensor keeps its own dtype, the model its own VAE.
    Nothing is written. Raises InputError for what `run_recipe` would refuse, and for a step that is an
    adapter or no step at all.
    """
    from loralathe.engine.execute import execute
    from loralathe.engine.sinks import MemoryWeights, Sinks

    if step not in recipe.steps:
        raise InputError(f"the recipe has no step '{step}'", where=recipe.where)
    saved = replace(recipe, saves=(Save(step, Path(step), dtype, vae=vae, config_from="none"),))
    with open_session(saved, options) as session:
        (output,) = session.plan.outputs
        if not isinstance(output, WeightsOutput):
            raise InputError(f"step '{step}' is an adapter, not a model to look at", where=recipe.where)
        sink = MemoryWeights(output)
        execute(session, Sinks({step: sink}), progress or Progress())
        session.sources.require_unchanged()
    return sink.tensors
