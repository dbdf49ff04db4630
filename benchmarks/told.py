"""What it costs to say how much of what is added the file holds: `python -m benchmarks.told RECIPE.toml`.

Every tensor of the recipe's one checkpoint is made twice, with the sums and without, in turns on one thread
of one process. So other work on the machine meets both alike. Prints a line of JSON: seconds, and processor
seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from loralathe.engine import (
    BudgetSurvey,
    Context,
    RunOptions,
    Session,
    Sinks,
    WeightsOutput,
    Workspace,
    make_jobs,
    open_session,
    prepared,
    run_job,
)
from loralathe.engine.held import HeldSums
from loralathe.engine.results import held_sums
from loralathe.engine.sinks import weights_sink
from loralathe.language import read_recipe
from loralathe.progress import Cancel


def context(session: Session, stack: ExitStack, held: Mapping[str, HeldSums]) -> Context:
    """A file of its own for one of the two; it never gets its name."""
    (output,) = session.plan.outputs
    assert isinstance(output, WeightsOutput)
    path = output.save.file.with_name(f"out-{'told' if held else 'plain'}.safetensors")
    placed = replace(output, save=replace(output.save, file=path))
    sink = weights_sink(placed, {}, [], session.options)
    stack.callback(sink.abort)
    sources, specializer = session.sources, session.planner.specializer
    sinks = Sinks({output.save.step: sink})
    survey = stack.enter_context(BudgetSurvey(None))
    return Context(sources, specializer, session.options, Workspace(), survey, sinks, Cancel(), held)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", type=Path)
    recipe = read_recipe(parser.parse_args().recipe)
    torch.set_num_threads(1)
    chance = random.Random(0)
    seconds, processor = [0.0, 0.0], [0.0, 0.0]
    options = RunOptions(hash_inputs=False, force=True)
    with open_session(recipe, options) as session, prepared("cpu"), ExitStack() as stack:
        both = context(session, stack, {}), context(session, stack, held_sums(session))
        for job in make_jobs(session.plan):
            for which in chance.sample((0, 1), 2):  # the second finds the weights in the cache
                start, own = time.perf_counter(), time.thread_time()
                run_job(both[which], job)
                seconds[which] += time.perf_counter() - start
                processor[which] += time.thread_time() - own
    found = {"plain": seconds[0], "told": seconds[1]}
    print(json.dumps(found | {"plain processor": processor[0], "told processor": processor[1]}))


if __name__ == "__main__":
    main()
