"""Epoch soups and projections on the demo's family. `python -m benchmarks.soups epochs --epochs FOLDER`.

    epochs   each epoch of `hina` alone, their plain average, a moving average, and the average cut to rank 2
    style    `hina` beside `sailor`: the plain sum, and one projected off the other's directions

Seeds and scenes are the same for all rows, and none was used by a choice. *likeness* is the judge's mean
probability of Hina's six traits, *bleed* how much of it a person has who is drawn without the word `hina`,
less what base A alone gives that person. Differences are paired, with 95 % t-intervals, in points of 100.
Pictures stay in `--out`: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import loralathe
from loralathe.demo.family import unpack_family
from loralathe.demo.judge import CAPTION, IS_HINA, IS_SAILOR, family_scorers
from loralathe.demo.settings import BASE_A, CFG, HINA, NEGATIVE, PEOPLE, SAILOR, SCENES, SIDE
from loralathe.families import family_by_id
from loralathe.likeness.intervals import estimate
from loralathe.progress import BarSink, Progress
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.strengths import AdapterUse
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context
from loralathe.studies.plan import file_identity, finished, job_of
from loralathe.studies.scorers import Scored
from loralathe.studies.store import CellStore, render_missing

FIRST_SEED = 700_000
STEPS = 8
Uses = tuple[AdapterUse, ...]
Values = dict[str, list[float]]


@dataclass(frozen=True)
class Bench:
    """A folder with the family, the pictures of it, and how many of them a row has."""

    folder: Path
    count: int
    renderer: LocalRenderer
    progress: Progress
    first_seed: int
    base: str = BASE_A

    def on(self, first_seed: int, count: int) -> Bench:
        """The same on other seeds."""
        return replace(self, first_seed=first_seed, count=count)

    def draw(self, uses: Uses, prompts: Sequence[str], *names: str) -> Values:
        """The scores of a row: prompts take turns, seeds count up."""
        context = Context(family=family_by_id("sdxl"))
        jobs = []
        for i in range(self.count):
            request = ImageRequest(
                checkpoint=str(self.folder / self.base),
                prompt=prompts[i % len(prompts)],
                negative=NEGATIVE,
                seed=self.first_seed + i,
                steps=STEPS,
                cfg=CFG,
                width=SIDE,
                height=SIDE,
                adapters=uses,
            )
            cell = finished(CellBuilder(request), (), (), context)
            jobs.append(job_of(cell, context, cache(file_identity)))
        store = CellStore(self.folder / "pictures")
        render_missing(jobs, store, self.renderer, self.progress)
        pictures = [Scored(store.open(job.key), None, job.request.prompt) for job in jobs]
        scores = {scorer.name: scorer.score(pictures) for scorer in family_scorers()}
        return {name: [float(value or 0.0) for value in scores[name]] for name in names}


def use(path: Path | str, strength: float = 1.0) -> AdapterUse:
    return AdapterUse(str(path), strength, strength)


def epochs(bench: Bench, files: Sequence[Path], *, bleed: bool) -> dict[str, Values]:
    """Likeness and prompt of each row, and with `bleed` what it does to other people."""
    count = len(files)
    rows: dict[str, Uses] = {path.stem: (use(path),) for path in files}
    rows["average"] = tuple(use(path, 1 / count) for path in files)
    cut = bench.folder / "average-r2.safetensors"
    loralathe.soup(*files, ranks={"rank": 2}, output=cut, force=True, threads=1)
    rows["average, rank 2"] = (use(cut),)
    with_word = [f"hina, {scene}" for scene in SCENES]
    found = {}
    for name, uses in rows.items():
        found[name] = bench.draw(uses, with_word, IS_HINA, CAPTION)
        tell(name, found[name])
    if bleed:
        bare = bench.draw((), PEOPLE, IS_HINA)[IS_HINA]
        for name, uses in rows.items():
            plain = bench.draw(uses, PEOPLE, IS_HINA)[IS_HINA]
            found[name]["bleed"] = [one - other for one, other in zip(plain, bare, strict=True)]
            tell(name, found[name])
    return found


STYLES = {
    "each off the other's outputs": (
        "project(hina, sailor, side='out')",
        "project(sailor, hina, side='out')",
    ),
    "hina off sailor": ("project(hina, sailor)", "sailor"),
    "sailor off hina": ("hina", "project(sailor, hina)"),
    "hina off sailor, mu = 1": ("project(hina, sailor, mu=1)", "sailor"),
    "hina off sailor, outputs": ("project(hina, sailor, side='out')", "sailor"),
    "each off the other": ("project(hina, sailor)", "project(sailor, hina)"),
}


def style(bench: Bench, hina: float, sailor: float, rows: int) -> dict[str, Values]:
    """Both scores where both words are in the prompt, for the plain sum and the first projections."""
    prompts = [f"hina, sailor, {scene}" for scene in SCENES]
    files = {"hina": bench.folder / HINA, "sailor": bench.folder / SAILOR}
    found = {}
    every = {"plain sum": ("hina", "sailor"), **STYLES}
    for name, formulas in list(every.items())[: rows + 1]:
        parts = []
        for formula in formulas:
            if formula in files:
                parts.append(files[formula])
                continue
            made = bench.folder / f"{formula.translate(str.maketrans('(), =', '_____'))}.safetensors"
            loralathe.evaluate(f"combine({formula})", files, output=made, force=True, dtype="fp16", threads=1)
            parts.append(made)
        uses = (use(parts[0], hina), use(parts[1], sailor))
        found[name] = bench.draw(uses, prompts, IS_HINA, IS_SAILOR, CAPTION)
        tell(name, found[name])
    return found


def tell(name: str, values: Values) -> None:
    means = ", ".join(f"{key} {_interval(found)}" for key, found in values.items())
    print(f"{name}: {means}", flush=True)


def _interval(values: Sequence[float]) -> str:
    found = estimate(values)
    half = 0.0 if found.high is None else found.high - found.mean
    return f"{100 * found.mean:.1f} ± {100 * half:.1f}"


def table(rows: Mapping[str, Values], against: str) -> str:
    """Markdown: each score, and its paired difference to the row `against`."""
    names = list(next(iter(rows.values())))
    heads = [part for name in names for part in (name, "difference")]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for row, values in rows.items():
        cells = []
        for name in names:
            gaps = [one - other for one, other in zip(values[name], rows[against][name], strict=True)]
            cells += [_interval(values[name]), "" if row == against else _interval(gaps)]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("epochs", "style"))
    parser.add_argument("--epochs", type=Path, help="folder with the epochs (training.epochs)")
    parser.add_argument("--count", type=int, default=60, help="pictures of a row (default 60)")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help=f"default {FIRST_SEED}")
    parser.add_argument("--hina", type=float, default=0.9, help="strength of hina (default 0.9)")
    parser.add_argument("--sailor", type=float, default=1.0, help="strength of sailor (default 1)")
    parser.add_argument("--bleed", action="store_true", help="of epochs: twice the pictures")
    parser.add_argument("--rows", type=int, default=len(STYLES), help="how many projections (default all)")
    parser.add_argument("--out", type=Path, default=Path("build/soups"))
    options = parser.parse_args()
    progress = Progress(BarSink())
    unpack_family(options.out, None, progress)
    with LocalRenderer("cpu", progress=progress) as renderer:
        bench = Bench(options.out, options.count, renderer, progress, options.first_seed)
        if options.what == "epochs":
            files = sorted((options.epochs or Path()).glob("hina-*.safetensors"))
            rows = epochs(bench, files, bleed=options.bleed)
            against = max((path.stem for path in files), key=lambda name: sum(rows[name][IS_HINA]))
        else:
            rows, against = style(bench, options.hina, options.sailor, options.rows), "plain sum"
    (options.out / f"{options.what}.json").write_text(json.dumps(rows), encoding="utf-8")
    print(table(rows, against))


if __name__ == "__main__":
    main()
