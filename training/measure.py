"""The family measured as a person uses it: the assembled files, rendered by loralathe.

Prompts and seeds were never seen in training. Every number is a mean over `--count` pictures (at least 100
for the model card), with a 95 % interval over pictures. Pictures are kept in `--out`, so that a run that was
stopped goes on; `measurements.json` holds what is done.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from loralathe.demo import settings as names
from loralathe.demo.family import find_family, unpack_family
from loralathe.demo.judge import trait_probabilities
from loralathe.demo.settings import FINAL_RANK, FULL, MULTIPLIERS, RANGE, SCENES, STRENGTH
from loralathe.demo.story import looking, merging, travelling
from loralathe.demo.studio import Studio
from loralathe.likeness.intervals import estimate
from loralathe.progress import BarSink, Progress
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.strengths import AdapterUse
from loralathe.studies.metrics import changed_percentage, pixels_of
from loralathe.studies.plan import Job, file_identity, request_key
from loralathe.studies.store import CellStore, render_missing
from training.attributes import CAPTIONED, FREE, Portrait, sample_hina, sample_portrait
from training.captions import caption, said_about
from training.measure_judge import examine

STRENGTHS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
FIRST_SEED = 50_000
ANALYZED = 8
Numbers = dict[str, float]


@dataclass(frozen=True)
class Subject:
    """One measurement: what is rendered, and what its pictures should show.

    trigger: word before the caption of the free attributes; empty for complete captions.
    against: the measurement whose pictures these are compared with, one by one.
    """

    name: str
    checkpoint: str
    adapter: str = ""
    strength: float = 1.0
    trigger: str = ""
    against: str = ""


def subjects() -> list[Subject]:
    """Everything that the model card tells, in an order that loads few models."""
    a, b = names.BASE_A, names.BASE_B
    found = [Subject("base A", a), Subject("base B", b)]
    found.append(Subject("no trigger on A", a, trigger="portrait"))
    found += [Subject(f"hina on A at {s:g}", a, names.HINA, s, "hina") for s in STRENGTHS]
    found += [Subject(f"sailor on A at {s:g}", a, names.SAILOR, s, "sailor") for s in (0.0, 1.0)]
    found += [Subject(f"hina on B at {s:g}", b, names.HINA, s, "hina") for s in (0.0, 0.7, 1.0)]
    found.append(Subject("extracted on B", b, names.LORA1, 1.0, "hina"))
    same = "hina on A at 0"
    found.append(Subject("merged uniform", names.A_UNIFORM, trigger="hina", against=same))
    found.append(Subject("merged per block", names.A_BLOCKS, trigger="hina", against=same))
    for direction, _, _ in names.DIRECTIONS:
        found.append(Subject(f"final model {direction}", names.model_of(direction), trigger="hina"))
        found.append(Subject(f"final LoRA {direction} on B", b, names.lora_of(direction), 1.0, "hina"))
    return found


def portraits_of(subject: Subject, count: int) -> list[Portrait]:
    """What the prompts ask for: the same for all measurements with the same trigger."""
    rng = random.Random(f"measure/{subject.trigger}")
    if subject.trigger in ("", "sailor"):
        return [sample_portrait(rng, "cel") for _ in range(count)]
    rng = random.Random("measure/hina")  # also where the trigger is missing
    return [sample_hina(rng, "cel") for _ in range(count)]


def prompt_of(subject: Subject, portrait: Portrait) -> str:
    """The complete caption; with a trigger, the trigger and what it leaves free."""
    if not subject.trigger:
        return caption(said_about(portrait))
    free = tuple(CAPTIONED) if subject.trigger == "sailor" else FREE
    return f"{subject.trigger}, {caption({name: getattr(portrait, name) for name in free})}"


def requests_of(studio: Studio, subject: Subject, count: int) -> list[ImageRequest]:
    """Seed FIRST_SEED + i for picture i, whatever is measured."""
    adapters = (
        (AdapterUse(str(studio.path(subject.adapter)), subject.strength, subject.strength),)
        if subject.adapter
        else ()
    )
    return [
        replace(
            studio.request(str(studio.path(subject.checkpoint)), (), prompt_of(subject, portrait)),
            seed=FIRST_SEED + i,
            adapters=adapters,
        )
        for i, portrait in enumerate(portraits_of(subject, count))
    ]


class Measuring:
    """A folder of pictures and what was read off them."""

    def __init__(self, studio: Studio, count: int) -> None:
        self.studio = studio
        self.count = count
        self.store = CellStore(studio.folder / "pictures")
        self.by_name = {subject.name: subject for subject in subjects()}

    def pictures(self, subject: Subject, renderer: LocalRenderer) -> list[Image.Image]:
        """Rendered where they are missing."""
        requests = requests_of(self.studio, subject, self.count)
        jobs = [Job(request_key(request, file_identity), request, (), ()) for request in requests]
        render_missing(jobs, self.store, renderer, self.studio.progress)
        return [self.store.open(job.key) for job in jobs]

    def measure(self, subject: Subject, renderer: LocalRenderer) -> Numbers:
        """Means and half-widths (`… ±`) of what matters for the subject."""
        images = self.pictures(subject, renderer)
        portraits = portraits_of(subject, self.count)
        numbers: Numbers = {"pictures": len(images)}
        asked = tuple(CAPTIONED) if subject.trigger in ("", "sailor") else FREE
        right = self._right(images, portraits, asked)
        numbers |= {name: sum(row) / len(row) for name, row in right.items()}
        _add(numbers, "prompt", [sum(column) / len(column) for column in zip(*right.values(), strict=True)])
        if subject.trigger:
            traits = trait_probabilities(
                self.studio.judge, "sailor" if subject.trigger == "sailor" else "hina", images
            )
            numbers |= {f"trait {name}": sum(row) / len(row) for name, row in traits.items()}
            _add(
                numbers,
                "identity",
                [sum(column) / len(column) for column in zip(*traits.values(), strict=True)],
            )
        if subject.against:
            others = self.pictures(self.by_name[subject.against], renderer)
            _add(numbers, "changed %", list(map(_changed, images, others)))
        return numbers

    def _right(
        self, images: Sequence[Image.Image], portraits: Sequence[Portrait], asked: Sequence[str]
    ) -> dict[str, list[float]]:
        """Question → 1 for each right answer, 0 for each wrong one."""
        knowledge = self.studio.judge.knowledge
        answers = self.studio.judge.answers(images)
        return {
            name: [
                float(int(row.argmax()) == knowledge.questions[name].index(str(getattr(portrait, name))))
                for row, portrait in zip(answers[name], portraits, strict=True)
            ]
            for name in asked
        }


def _changed(one: Image.Image, other: Image.Image) -> float:
    return changed_percentage(pixels_of(one), pixels_of(other), 20)


def _add(numbers: Numbers, name: str, values: list[float]) -> None:
    found = estimate(values)
    numbers[name] = found.mean
    numbers[f"{name} ±"] = 0.0 if found.high is None else found.high - found.mean


def make_files(studio: Studio) -> Numbers:
    """Every file of the demo's story; what the block analyzer found, over more seeds than the demo takes."""
    task = replace(
        looking.analysis(studio), name="blocks", seeds=ANALYZED, prompt=f"hina, {SCENES[0]}", range=RANGE
    )
    report = studio.blocks(task)
    strongest = max(report.effects, key=lambda effect: effect.changed.mean)
    numbers: Numbers = {
        f"{effect.group.name}{end}": value
        for effect in report.effects
        for end, value in (
            ("", effect.changed.mean),
            (" low", effect.changed.low or 0.0),
            (" high", effect.changed.high or 0.0),
        )
    }
    numbers["separated"] = float(looking.clearly_below(report, strongest))
    blocks = looking.block_list(studio.blocks(looking.analysis(studio)))
    makers = [
        merging.merge_task(studio, names.A_UNIFORM),
        merging.merge_task(studio, names.A_BLOCKS, blocks),
        merging.extract_task(studio, int(names.LORA1.partition("_r")[2].partition(".")[0])),
    ]
    for maker in makers:
        studio.make(maker)
    travelling.write_recipes(studio)
    for direction, _, _ in names.DIRECTIONS:
        studio.make(travelling.run_task(studio, direction))
        kept = studio.energies(names.lora_of(direction))
        numbers[f"kept {direction}"] = kept.kept
    return numbers


def measure_all(
    folder: Path, count: int, family: Path | None, progress: Progress, say: Callable[[str], None] = print
) -> dict[str, Numbers]:
    """All measurements, each written down as soon as it is there."""
    found = find_family(family)
    unpack_family(folder, found, progress)
    path = folder / "measurements.json"
    done: dict[str, Numbers] = {
        "settings": {
            "strength": STRENGTH,
            "steps": FULL.steps,
            "count": count,
            "last": FINAL_RANK,
            **{f"m_{direction}": m for direction, m in MULTIPLIERS.items()},
        }
    }
    with Studio(folder, found, FULL, progress) as studio:
        done |= examine(studio.judge.opened, studio.path(names.BASE_A))
        done["blocks"] = make_files(studio)
        studio.close_renderer()
        measuring = Measuring(studio, count)
        with LocalRenderer("cpu", progress=progress) as renderer:
            for subject in subjects():
                done[subject.name] = measuring.measure(subject, renderer)
                path.write_text(json.dumps(done, indent=1), encoding="utf-8")
                shown = {k: round(v, 3) for k, v in done[subject.name].items() if k in ("identity", "prompt")}
                say(f"{subject.name}: {shown}")
    return done


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.measure", description=__doc__)
    parser.add_argument("--family", type=Path, help="folder with the parts (default: what is installed)")
    parser.add_argument(
        "--out", type=Path, default=Path(os.environ.get("TINYFAM_STATE", "build/tinyfam")) / "measured"
    )
    parser.add_argument("--count", type=int, default=120, help="pictures per measurement")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measure_all(options.out, options.count, options.family, Progress(BarSink()))


if __name__ == "__main__":
    _main()
