"""Does a search end where a whole grid does? `python -m benchmarks.tune FOLDER`.

Two LoRAs of the demo's family, hina and sailor, each on its own: strength × text encoder × three segments of
blocks, four values each, 1,024 points. Every point is rendered on two seeds, with and without the trigger
word; that takes about an hour of one core for each LoRA. What stands out there is measured on more seeds,
which makes the grid's best stronger than a grid alone would show it.

The search begins at the worst corner, and is told of nothing better: what it is given is that corner, too. It
may ask for a fifth of the grid's pictures. Then its choice, the grid's best one and the article's uniform
merge meet on seeds that nothing was chosen by, 60 pictures each, with and without the trigger word.
Differences are paired, with 95 % intervals of Student's t.

    --lora NAME      hina or sailor; both if it is left out
    --part grid      only render the grid (it goes on where it stopped)
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from loralathe.demo import family_scorers, unpack_family
from loralathe.demo.settings import BASE_A, NEGATIVE, PEOPLE, SCENES, SIDE, STRENGTH
from loralathe.families import family_by_id
from loralathe.likeness.intervals import Estimate, estimate
from loralathe.progress import BarSink, Progress
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.strengths import AdapterUse
from loralathe.studies import CellStore, gather_context
from loralathe.studies.tuning.budget import Budget, check_seeds
from loralathe.studies.tuning.goals import goals_of
from loralathe.studies.tuning.measure import Measurer
from loralathe.studies.tuning.options import TuneOptions, space_of
from loralathe.studies.tuning.proposals import DATABASE
from loralathe.studies.tuning.racing import Values
from loralathe.studies.tuning.search import run_tune
from loralathe.studies.tuning.space import AS_GIVEN, Point, Scene

PROMPTS = {"hina": SCENES[0], "sailor": PEOPLE[0]}
"""Without the trigger word, which is the LoRA's name."""
SWEEPS = (
    "{} unet = 0.3, 0.6, 0.9, 1.2",
    "{} te = 0, 0.4, 0.8, 1.2",
    "{} IN04-IN08 = 0, 0.4, 0.7, 1",
    "{} MID = 0, 0.4, 0.7, 1",
    "{} OUT00-OUT05 = 0, 0.4, 0.7, 1",
)
SEED, HELD_OUT, PICTURES = 1, 90_001, 60
SEEDS = 2
"""Of every point. On one, bad luck hides good points."""
CLOSER = ((64, 4), (16, 12), (6, 32))
"""(points, seeds): so many of the grid's best are looked at on so many seeds, round by round. With fewer, a
point is taken for the best that was lucky: on sailor, one that had none of four pictures wrong had a third of
sixty wrong.
"""
CHUNK = 64
WHOLE = 2 * SEEDS * 4**5
"""Pictures of the grid, without the closer looks."""


@dataclass(frozen=True)
class Compared:
    """The search's choice minus another point, on the held-out seeds; each goal in points of 100."""

    other: str
    values: tuple[str, ...]
    own: tuple[float, ...]
    theirs: tuple[float, ...]
    differences: tuple[Estimate, ...]


def options_for(folder: Path, lora: str, pictures: int, strength: float) -> TuneOptions:
    """The search over one LoRA, given at a strength."""
    family = folder / "family"
    request = ImageRequest(
        str(family / BASE_A),
        prompt=f"{lora}, {PROMPTS[lora]}",
        negative=NEGATIVE,
        seed=SEED,
        steps=6,
        cfg=4,
        width=SIDE,
        height=SIDE,
        adapters=(AdapterUse(str(family / f"{lora}.safetensors"), strength, strength),),
    )
    scorers = family_scorers()
    return TuneOptions(
        request,
        folder / f"tune-{lora}",
        tuple(sweep.format(lora) for sweep in SWEEPS),
        goals_of((), scorers=scorers, likeness=f"is {lora}", plain=True),
        Budget(pictures=pictures),
        triggers=(lora,),
        check=check_seeds(Budget(pictures=pictures)),
        context=gather_context(family_by_id("sdxl")),
        force=True,
    )


def scenes(options: TuneOptions, first: int, count: int) -> tuple[Scene, ...]:
    plain = PROMPTS[options.triggers[0]]
    return tuple(Scene(options.request.prompt, plain, first + n) for n in range(count))


def measurer(
    options: TuneOptions, folder: Path, seeds: tuple[Scene, ...], renderer: LocalRenderer
) -> Measurer:
    return Measurer(space_of(options), seeds, options.goals, CellStore(folder), renderer, Progress(BarSink()))


def whole_grid(options: TuneOptions, folder: Path, renderer: LocalRenderer) -> Measurer:
    """Every point on its seeds, the text encoder's strength outermost: it is encoded anew for each."""
    grid = measurer(options, folder, scenes(options, SEED, CLOSER[-1][1]), renderer)
    points = [(u, te, *rest) for te in range(4) for u, *rest in product(range(4), repeat=4)]
    for start in range(0, len(points), CHUNK):
        grid.measure(dict.fromkeys(points[start : start + CHUNK], range(SEEDS)))
        print(f"{start + CHUNK} of {len(points)} points, {grid.rendered} rendered", file=sys.stderr)
    return grid


def best_of_grid(grid: Measurer[Point]) -> Point:
    """The most alike one, of equal ones by the sum of goals: fewer points on more seeds, round by round."""

    def order(row: Values) -> tuple[float, float]:
        return float(row[0]), float(row.sum())

    points: list[Point] = [tuple(point) for point in product(range(4), repeat=5)]
    told = SEEDS
    for keep, seeds in CLOSER:
        means = {point: grid.table(point, range(told)).mean(0) for point in points}
        points = sorted(points, key=lambda point, means=means: order(means[point]), reverse=True)[:keep]
        grid.measure({point: range(seeds) for point in points})
        told = seeds
    return max(points, key=lambda point: order(grid.table(point, range(told)).mean(0)))


def search(options: TuneOptions, grid: Path, renderer: LocalRenderer) -> tuple[Point, int]:
    """The recommended point, and its pictures. What the grid has rendered is copied, and counted like the
    rest.
    """
    (options.folder / DATABASE).unlink(missing_ok=True)
    shutil.copytree(grid / "cells", options.folder / "cells", dirs_exist_ok=True)
    report = run_tune(options, renderer, Progress(BarSink()))
    assert report.best is not None
    space = space_of(options)
    labels = [[value.label for value in axis.values] for axis in space.axes]
    point = tuple(names.index(label) for names, label in zip(labels, report.best.labels, strict=False))
    return point, report.pictures


def meet(
    options: TuneOptions, folder: Path, own: Point, others: dict[str, Point], renderer: LocalRenderer
) -> list[Compared]:
    """The choice and the others on the held-out seeds."""
    held = range(PICTURES)
    fresh = measurer(options, folder, scenes(options, HELD_OUT, PICTURES), renderer)
    fresh.measure(dict.fromkeys({own, *others.values()}, held))
    uniform = options_for(folder.parent, options.triggers[0], 1, STRENGTH)
    plain = measurer(uniform, folder, fresh.scenes, renderer)  # type: ignore[arg-type]
    plain.measure({AS_GIVEN: held})
    tables = {name: (point, fresh.table(point, held)) for name, point in others.items()}
    tables[f"the uniform merge at {STRENGTH:g}"] = (AS_GIVEN, plain.table(AS_GIVEN, held))
    mine = fresh.table(own, held)
    return [compared(name, fresh, point, mine, table) for name, (point, table) in tables.items()]


def compared(name: str, fresh: Measurer, point: Point, own: Values, other: Values) -> Compared:
    signs = [1.0 if goal.up else -1.0 for goal in fresh.goals]

    def shown(table: Values) -> tuple[float, ...]:
        return tuple(float(100 * sign * mean) for sign, mean in zip(signs, table.mean(0), strict=True))

    gaps = tuple(
        estimate([100 * sign * float(gap) for gap in column])
        for sign, column in zip(signs, (own - other).T, strict=True)
    )
    return Compared(name, fresh.space.labels(point), shown(own), shown(other), gaps)


def print_table(
    lora: str, found: Sequence[Compared], goals: Sequence[str], pictures: int, chosen: Sequence[str]
) -> None:
    print(f"\n{lora}: the search's choice {' '.join(chosen)}, {pictures} pictures of {WHOLE:,}")
    print("| against | " + " | ".join(f"{goal} | difference (95 %)" for goal in goals) + " |")
    print("|---|" + "---:|---:|" * len(goals))
    for one in found:
        cells = [
            f"{mine:.1f} : {theirs:.1f} | {gap.mean:+.1f} ({gap.low:+.1f} to {gap.high:+.1f})"
            for mine, theirs, gap in zip(one.own, one.theirs, one.differences, strict=True)
        ]
        print(f"| {one.other} {' '.join(one.values)} | " + " | ".join(cells) + " |")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lora", choices=tuple(PROMPTS), action="append")
    parser.add_argument("--pictures", type=int, default=WHOLE // 5)
    parser.add_argument("--part", choices=("grid", "all"), default="all")
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    folder: Path = given.folder.absolute()
    unpack_family(folder / "family")
    for lora in given.lora or PROMPTS:
        options = options_for(folder, lora, given.pictures, 0.3)
        with LocalRenderer("cpu") as renderer:
            grid = whole_grid(options, folder / f"grid-{lora}", renderer)
            if given.part == "grid":
                continue
            begun = time.monotonic()
            own, pictures = search(options, folder / f"grid-{lora}", renderer)
            seconds = time.monotonic() - begun
            others = {"the grid's best likeness": best_of_grid(grid)}
            found = meet(options, folder / f"held-{lora}", own, others, renderer)
        goals = [goal.name for goal in options.goals]
        chosen = grid.space.labels(own)
        print_table(lora, found, goals, pictures, chosen)
        print(f"{seconds:.0f} s, of which pictures that the grid had took none")
        text = json.dumps(
            {"pictures": pictures, "chosen": chosen, "compared": [one.__dict__ for one in found]},
            default=lambda one: {name: getattr(one, name) for name in ("mean", "low", "high")},
            ensure_ascii=False,
        )
        (folder / f"result-{lora}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
