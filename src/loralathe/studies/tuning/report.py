"""The result of a search, and its files: tune.json, tune.csv, tune.html, recommended.toml."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from loralathe.commands import command_line
from loralathe.engine import Measured
from loralathe.errors import Value
from loralathe.language import read_recipe, recipe_text
from loralathe.likeness.intervals import Estimate
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse, argument_text, show_number
from loralathe.studies.commands import CellRecipe, cell_recipe
from loralathe.studies.measured import CardFile, measured_by
from loralathe.studies.page.build import adapter_text, fill_page, picture_source
from loralathe.studies.plan import Job
from loralathe.studies.study_file import csv_file, csv_number, json_file
from loralathe.tensorfiles import write_whole

Status = Literal["front", "behind", "dropped"]
RECOMMENDED = "recommended.toml"
MOST_PICTURES = 8
"""Of a candidate on the page."""


@dataclass(frozen=True)
class Candidate:
    """One candidate; number 0 is what was given.

    labels: its values, one for each axis.  values: each objective over its seeds, None where nothing tells
    it. status: front: no other is better everywhere;  behind: another seems so;  dropped: `beaten_by`
    surely is. keys: its pictures with the trigger word. render: the command that renders it.  recipe: how to
    make its weights; None for those of the checkpoint. adapters: the LoRAs with their values, without their
    folders.
    """

    number: int
    labels: tuple[str, ...]
    values: tuple[Estimate | None, ...]
    status: Status
    beaten_by: int | None
    keys: tuple[str, ...]
    render: str
    recipe: CellRecipe | None
    adapters: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        number: int,
        labels: tuple[str, ...],
        values: tuple[Estimate | None, ...],
        status: Status,
        beaten_by: int | None,
        keys: tuple[str, ...],
        job: Job,
        recipe_file: str | None,
    ) -> Candidate:
        """From one of its jobs."""
        recipe = cell_recipe(job.request, recipe_file=recipe_file, variables=job.variables)
        render = "" if recipe_file else render_command(job.request)
        adapters = tuple(map(adapter_text, job.request.adapters))
        return cls(number, labels, values, status, beaten_by, keys, render, recipe, adapters)


@dataclass(frozen=True)
class Check:
    """The recommended candidate and another one on fresh seeds: what each has, and the paired difference."""

    against: int
    seeds: tuple[int, ...]
    values: tuple[Estimate | None, ...]
    others: tuple[Estimate | None, ...]
    differences: tuple[Estimate | None, ...]
    keys: tuple[str, ...]
    other_keys: tuple[str, ...]


@dataclass(frozen=True)
class Final:
    """The last pictures: those of the recommended candidate, and of what was given, on the same seeds.

    whole: drawn one at a time, from the models that the recipes make; else as the search drew.
    render: what to type to draw the first one again.
    """

    keys: tuple[str, ...]
    given: tuple[str, ...]
    whole: bool
    render: str


@dataclass(frozen=True)
class TuneReport:
    """A search.

    axes: title → values.  goals: (name, whether up is better, weight, slack); the first comes first.
    front: numbers, the best of the choice first.
    top: the best of the first goal;  near: those that are at most `within` behind it, a share of 1; the
        first of them is recommended.
    pictures: all that the study made;  rendered: those of this run;  grid_pictures: of a grid of the same
        values on the seeds that a new candidate begins with.
    seeds: of a new candidate, and the most.  stage: what a running search is at; "" once it has ended.
    recipe: that of the recommended candidate, its paths as seen from the study's folder; "" for the base
    itself.
    final: the last pictures; None where the search did not come to its end.
    measured: what was measured of that recipe, on fresh seeds if there are any; None where nothing tells of
        which files it is made.
    """

    title: str
    axes: Mapping[str, tuple[str, ...]]
    goals: tuple[tuple[str, bool, float, float], ...]
    candidates: tuple[Candidate, ...]
    front: tuple[int, ...]
    top: int | None
    near: tuple[int, ...]
    within: float
    check: Check | None
    pictures: int
    rendered: int
    grid_candidates: int
    grid_pictures: int
    pictures_of_scene: int
    seeds: tuple[int, int]
    error: float
    size: tuple[int, int]
    stage: str
    budget: int | None
    request: ImageRequest
    recipe: str = ""
    final: Final | None = None
    measured: Measured | None = None
    files: tuple[Path, ...] = ()

    @property
    def recommended(self) -> int | None:
        """The best of the others' sum among those that are near the top; None where there is nobody yet."""
        return self.near[0] if self.near else None

    @property
    def best(self) -> Candidate | None:
        """The recommended candidate."""
        return None if self.recommended is None else self.candidates[self.recommended]


def render_command(request: ImageRequest, opening: Mapping[str, Value] | None = None, **made: Value) -> str:
    """`lathe render` with the settings of a request.

    opening: how the model was opened.  made: `recipe` and `step`, in which the LoRAs are.
    """
    uses: list[AdapterUse] = [use for use in request.adapters if use.te or use.unet]
    hires = request.hires
    more: dict[str, Value] = {
        "other_vae": request.vae,
        "clip_skip": request.clip_skip if request.clip_skip > 1 else None,
        "guidance": None if request.guidance is None else show_number(request.guidance),
    }
    if hires is not None:
        more |= {
            "hires": show_number(hires.scale),
            "hires_upscaler": hires.upscaler,
            "hires_steps": hires.steps,
            "hires_denoising": show_number(hires.denoising),
        }
    return command_line(
        "render",
        *([] if made else [request.checkpoint]),
        *map(argument_text, uses),
        **made,
        prompt=request.prompt,
        negative=request.negative,
        seed=request.seed,
        steps=request.steps,
        cfg=show_number(request.cfg),
        sampler=request.sampler,
        schedule=request.schedule,
        size=f"{request.width}x{request.height}",
        **{name: value for name, value in more.items() if value is not None},
        **(opening or {}),
    )


def recommended_recipe(job: Job, recipe_file: str | None, folder: Path) -> str:
    """The recipe of a candidate as a file in `folder`, which finds its inputs from there."""

    def seen(path: str | Path) -> str:
        try:
            return Path(os.path.relpath(path, folder)).as_posix()
        except ValueError:  # on another drive
            return str(Path(path).absolute())

    if recipe_file is not None:
        found = read_recipe(Path(recipe_file)).with_variables(dict(job.variables))
        inputs = {name: Path(seen(path)) for name, path in found.inputs.items()}
        saves = tuple(
            replace(save, file=Path(save.file.name), vae=save.vae and Path(seen(save.vae)))
            for save in found.saves
        )
        return recipe_text(replace(found, inputs=inputs, saves=saves))
    request = job.request
    uses = tuple(replace(use, file=seen(use.file)) for use in request.adapters)
    recipe = cell_recipe(replace(request, checkpoint=seen(request.checkpoint), adapters=uses))
    return "" if recipe is None else recipe.snippet


def write_tune_report(folder: Path, report: TuneReport, *, embed: bool) -> TuneReport:
    """Write all files of the report, `recommended.toml` only for a finished search; the report with their
    paths.
    """
    files = [
        _write(folder / "tune.json", tune_json(report)),
        _write(folder / "tune.csv", tune_csv(report)),
        _write(folder / "tune.html", tune_page(report, folder, embed=embed)),
    ]
    if report.recipe:
        files.append(_write(folder / RECOMMENDED, report.recipe.encode("utf-8", "backslashreplace")))
    return replace(report, files=tuple(files))


def measured_best(report: TuneReport, card: CardFile, prompts: Sequence[str]) -> Measured | None:
    """What was measured of the recommended candidate, not yet bound to its recipe.

    None where there is none, or where a file cannot hold all that was drawn: a LoRA that acts in some steps
    only, weights that the seed decides, adapters on top of a recipe.
    """
    best, check = report.best, report.check
    if best is None or best.recipe is None or best.recipe.notes:
        return None
    first = report.request.seed
    values = best.values if check is None else check.values
    seeds = range(first, first + len(best.keys)) if check is None else check.seeds
    goals = [(name, up) for name, up, *_ in report.goals]
    return measured_by("tune", goals, values, card=card, seeds=seeds, prompts=prompts)


def add_measured(folder: Path, report: TuneReport, measured: Measured) -> TuneReport:
    """The report with these numbers; tune.json is written again."""
    found = replace(report, measured=measured)
    _write(folder / "tune.json", tune_json(found))
    return found


def _write(path: Path, content: bytes) -> Path:
    write_whole(path, content)
    return path


def tune_json(report: TuneReport) -> bytes:
    """The whole report."""
    apart = ("files", "request", "measured")
    fields = {name: value for name, value in asdict(report).items() if name not in apart}
    fields["measured"] = None if report.measured is None else report.measured.facts()
    fields["goals"] = [
        dict(zip(("name", "up", "weigh", "slack"), goal, strict=True)) for goal in report.goals
    ]
    more = {"recommended": report.recommended, "request": report.request.to_json()}
    return json_file({"version": 1} | fields | more) + b"\n"


def tune_csv(report: TuneReport) -> bytes:
    """A row for each candidate: its values, its objectives with 95 % intervals, what became of it."""
    heads = [f"{name}{end}" for name, *_ in report.goals for end in ("", " low", " high")]
    rows: list[Sequence[object]] = [
        ["candidate", *report.axes, "seeds", *heads, "near", "status", "beaten by", "command"]
    ]
    for one in report.candidates:
        numbers = [
            number
            for value in one.values
            for number in ((None,) * 3 if value is None else (value.mean, value.low, value.high))
        ]
        rows.append(
            [
                one.number,
                *(one.labels or [""] * len(report.axes)),
                len(one.keys),
                *map(csv_number, numbers),
                "yes" if one.number in report.near else "",
                "recommended" if one.number == report.recommended else one.status,
                "" if one.beaten_by is None else one.beaten_by,
                one.recipe.command if one.recipe else "",
            ]
        )
    return csv_file(rows)


def tune_page(report: TuneReport, folder: Path, *, embed: bool) -> bytes:
    """`tune.html`."""
    shown = {*report.front, report.recommended, 0}

    def sources(keys: Sequence[str]) -> list[str]:
        return [picture_source(f"cells/{key}.png", folder, embed=embed) for key in keys[:MOST_PICTURES]]

    candidates = [
        {
            "number": one.number,
            "labels": one.labels,
            "values": [None if value is None else asdict(replace(value, values=())) for value in one.values],
            "status": one.status,
            "beatenBy": one.beaten_by,
            "seeds": len(one.keys),
            "pictures": sources(one.keys) if not embed or one.number in shown else [],
        }
        for one in report.candidates
    ]
    best, check = report.best, report.check
    data = {
        "title": report.title,
        "axes": [{"title": title, "values": values} for title, values in report.axes.items()],
        "goals": [
            {"name": name, "up": up, "weigh": weigh, "slack": slack}
            for name, up, weigh, slack in report.goals
        ],
        "candidates": candidates,
        "front": report.front,
        "recommended": report.recommended,
        "top": report.top,
        "near": report.near,
        "within": report.within,
        "check": None
        if check is None
        else {
            "against": check.against,
            "seeds": check.seeds,
            **{
                name: [
                    None if value is None else asdict(replace(value, values=()))
                    for value in getattr(check, name)
                ]
                for name in ("values", "others", "differences")
            },
            "pictures": sources(check.keys),
            "others_pictures": sources(check.other_keys),
        },
        "commands": None
        if best is None
        else {
            "render": best.render if report.final is None else report.final.render,
            "merge": best.recipe.command if best.recipe else "",
            "recipe": report.recipe,
            "notes": best.recipe.notes if best.recipe else (),
            "adapters": best.adapters,
        },
        "final": None
        if report.final is None
        else {"whole": report.final.whole, "pictures": sources(report.final.keys)},
        "pictures": report.pictures,
        "gridCandidates": report.grid_candidates,
        "gridPictures": report.grid_pictures,
        "ofScene": report.pictures_of_scene,
        "seeds": report.seeds,
        "error": report.error,
        "width": report.size[0],
        "height": report.size[1],
        "stage": report.stage,
        "budget": report.budget,
        "prompt": report.request.prompt,
    }
    return fill_page("tune", report.title or f"{folder.name}: tune", data)
