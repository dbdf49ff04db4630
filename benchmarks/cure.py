"""What a cure keeps and takes away. `python -m benchmarks.cure FOLDER --row NAME=FILE[:STRENGTH] …`

Every row draws the same scenes on the demo's base A, on seeds that no choice was made by:

    likeness  the trigger word and a scene: the judge's mean probability of Hina's six traits
    scenes    the same scenes without the word: nobody is described, and the LoRA may draw whom it likes
    people    other people, described from hair to skin, without the word

Bleed is told twice for both: *rise* is how much more of her six traits the picture has than the base's of the
same seed, *card* is 1 − the cosine of who is in the two (0 the same person, 1 nothing in common, up to 2).
Differences to the first row are paired, with 95 % intervals of Student's t, in points of 100. Pictures stay
in FOLDER: a run that was stopped goes on.

The rows of docs/cure.md: a LoRA of rank 2 that was trained without pictures of other people,

    python -m training.shipped
    python -m training.epochs --out build/epochs --epochs 200 --seed 1

as it is, what `lathe cure` makes of it without and with `--refine 100`, and the LoRA at lower strengths.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import torch

import loralathe
from benchmarks.soups import CFG, NEGATIVE, SIDE, Values, table
from loralathe.demo.family import unpack_family
from loralathe.demo.judge import CAPTION, IS_HINA, family_judge, family_scorers
from loralathe.demo.settings import BASE_A, HINA, PEOPLE, SCENES
from loralathe.families import family_by_id
from loralathe.progress import BarSink, Progress
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.strengths import AdapterUse
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context
from loralathe.studies.plan import file_identity, finished, job_of
from loralathe.studies.scorers import Scored
from loralathe.studies.store import CellStore, render_missing

FIRST_SEED, STEPS = 800_000, 8
Pictures = list[Scored]


def draw(
    folder: Path, use: AdapterUse | None, prompts: Sequence[str], count: int, renderer: LocalRenderer
) -> Pictures:
    """Prompts take turns, seeds count up."""
    context = Context(family=family_by_id("sdxl"))
    jobs = []
    for i in range(count):
        request = ImageRequest(
            checkpoint=str(folder / "family" / BASE_A),
            prompt=prompts[i % len(prompts)],
            negative=NEGATIVE,
            seed=FIRST_SEED + i,
            steps=STEPS,
            cfg=CFG,
            width=SIDE,
            height=SIDE,
            adapters=(use,) if use else (),
        )
        cell = finished(CellBuilder(request), (), (), context)
        jobs.append(job_of(cell, context, cache(file_identity)))
    store = CellStore(folder / "pictures")
    render_missing(jobs, store, renderer, Progress(BarSink()))
    return [Scored(store.open(job.key), None, job.request.prompt) for job in jobs]


def hers(pictures: Pictures) -> list[float]:
    (scorer,) = (one for one in family_scorers() if one.name == IS_HINA)
    return [float(value or 0.0) for value in scorer.score(pictures)]


def row(
    folder: Path, use: AdapterUse | None, card: loralathe.Card, count: int, renderer: LocalRenderer
) -> Values:
    """Likeness, how far the prompt is followed, and bleed of both kinds."""
    own = draw(folder, use, [f"hina, {scene}" for scene in SCENES], count, renderer)
    (caption,) = (one for one in family_scorers() if one.name == CAPTION)
    found: Values = {
        "likeness": hers(own),
        "prompt": [float(value or 0.0) for value in caption.score(own)],
    }
    for name, prompts in (("scenes", SCENES), ("people", PEOPLE)):
        bare = draw(folder, None, prompts, count, renderer)
        after = draw(folder, use, prompts, count, renderer)
        found[f"{name}, rise"] = [a - b for a, b in zip(hers(after), hers(bare), strict=True)]
        pairs = [(a.image, b.image) for a, b in zip(after, bare, strict=True)]
        found[f"{name}, card"] = [1.0 - (cosine or 0.0) for cosine in card.alike(pairs)]
    return found


def card_of(folder: Path, renderer: LocalRenderer) -> loralathe.Card:
    """From six pictures of the LoRA that ships."""
    use = AdapterUse(str(folder / "family" / HINA), 1.0, 1.0)
    photos = draw(folder, use, [f"hina, {scene}" for scene in SCENES], 6, renderer)
    paths = []
    for i, photo in enumerate(photos):
        paths.append(folder / f"photo-{i}.png")
        photo.image.save(paths[-1])
    return loralathe.make_card(paths, family_judge(), trigger="hina")


def read_row(text: str) -> tuple[str, AdapterUse]:
    """NAME=FILE[:STRENGTH]; ValueError else."""
    name, _, rest = text.partition("=")
    file, colon, strength = rest.rpartition(":")
    path, value = (file, float(strength)) if colon else (rest, 1.0)
    if not name or not Path(path).is_file():
        raise ValueError(text)
    return name, AdapterUse(path, value, value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--row", type=read_row, action="append", required=True, help="NAME=FILE[:STRENGTH]")
    parser.add_argument("--count", type=int, default=60, help="pictures of each kind (default 60)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder: Path = options.folder
    unpack_family(folder / "family")
    rows: dict[str, Values] = {}
    with LocalRenderer("cpu") as renderer:
        card = card_of(folder, renderer)
        for name, use in options.row:
            rows[name] = row(folder, use, card, options.count, renderer)
            show(rows)
    (folder / "cure.json").write_text(json.dumps(rows), encoding="utf-8")


def show(rows: Mapping[str, Values]) -> None:
    print(table(rows, next(iter(rows))), flush=True)


if __name__ == "__main__":
    main()
