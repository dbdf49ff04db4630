"""Pictures a minute beside diffusers, as a table on stdout; README-rendering.md says how to read it."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rendering_cases import Case, analyzer, bare, fusing, strengths
from benchmarks.rendering_facts import facts
from benchmarks.rendering_models import Size, Stage, make_stage

HEAD = (
    "| model and picture | case | way | cells | s a cell | cells/min | ratio | range | CPU ratio | levels |",
    "|---|---|---|---:|---:|---:|---:|---|---:|---:|",
)
ON_CPU = {
    "tiny": Size("sd1", 16, 64, 4),
    "small": Size("sd1", 4, 128, 4),
    "larger": Size("sd1", 4, 256, 4),
}
ON_GPU = {"sd1": Size("sd1", 1, 512, 20), "sdxl": Size("sdxl", 1, 1024, 20)}


@dataclass(frozen=True)
class Time:
    """Seconds of one way in one round: by the clock, and of this process's processors."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rendering", description=__doc__)
    cuda = torch.cuda.is_available()
    sizes = ON_GPU if cuda else ON_CPU
    parser.add_argument("--size", choices=sizes, action="append", help="only this one; may be repeated")
    parser.add_argument("--case", action="append", help="only this one, by its name; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each case (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU")
    options = parser.parse_args()
    quiet()
    torch.set_num_threads(options.threads)
    device, dtype = (torch.device("cuda"), torch.float16) if cuda else (torch.device("cpu"), torch.float32)
    print("\n".join([*facts(device, options.threads), "", *HEAD]), flush=True)
    for name in options.size or sizes:
        with tempfile.TemporaryDirectory() as folder:
            stage = make_stage(sizes[name], Path(folder), device, dtype)
            for case in cases_of(stage, name, cuda):
                if not options.case or case.name in options.case:
                    for line in lines(stage, case, options.rounds):
                        print(line, flush=True)
            stage.close()


def quiet() -> None:
    """No bars and advice of the libraries among the rows."""
    import diffusers
    import transformers

    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")


def cases_of(stage: Stage, name: str, cuda: bool) -> Iterator[Case]:
    yield bare(stage)
    stage.load_lora()
    yield strengths(stage, crossed=False)
    if name != "larger":  # many cells of the larger size say nothing new
        yield strengths(stage, crossed=True)
        yield analyzer(stage)
    if cuda:
        yield fusing(stage)


def lines(stage: Stage, case: Case, rounds: int) -> Iterator[str]:
    """Rows of the table: medians, and the median of each round's ratio with its lowest and highest."""
    times, levels = measure(stage, case, rounds)
    base = times[case.baseline]
    for way, own in times.items():
        wall = statistics.median(t.wall for t in own)
        ratios = sorted(a.wall / b.wall for a, b in zip(own, base, strict=True))
        cpu = statistics.median(a.cpu / b.cpu for a, b in zip(own, base, strict=True))
        cells = (
            stage.size.label, case.name, way, str(case.cells), f"{wall / case.cells:.3f}",
            f"{60 * case.cells / wall:.1f}",
            *(("1", "", "1", "") if way == case.baseline else (
                f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f}–{ratios[-1]:.2f}", f"{cpu:.2f}",
                levels.get(way, ""),
            )),
        )  # fmt: skip
        yield "| " + " | ".join(cells) + " |"


def measure(stage: Stage, case: Case, rounds: int) -> tuple[dict[str, list[Time]], dict[str, str]]:
    """Times by way, the ways in turn and in a new order each round; largest 8-bit difference by way.

    A first round warms up and is not counted.
    """
    times: dict[str, list[Time]] = {way: [] for way in case.ways}
    made: dict[str, list[Any]] = {}
    names = list(case.ways)
    for number in range(rounds + 1):
        for way in names:
            stage.forget_texts()
            found, spent = timed(case.ways[way])
            made[way] = found
            if number:
                times[way].append(spent)
        names = names[1:] + names[:1]
    return times, {way: worst(found, made[case.baseline]) for way, found in made.items()}


def timed(way: Any) -> tuple[list[Any], Time]:
    settle()
    wall, cpu = time.perf_counter(), time.process_time()
    found = way()
    settle()
    return found, Time(time.perf_counter() - wall, time.process_time() - cpu)


def settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def worst(own: Sequence[Any], others: Sequence[Any]) -> str:
    """The largest difference of any channel of any pixel; empty where pictures are not at hand."""
    if not own or not others:
        return ""
    gaps = [
        np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max()
        for a, b in zip(own, others, strict=True)
    ]
    return str(max(gaps))


if __name__ == "__main__":
    main()
