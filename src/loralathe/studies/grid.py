"""`run_grid`: plan, render the missing cells, measure, draw, report. `lathe grid` calls it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from loralathe.errors import InputError, LatheError, about, counted, option
from loralathe.likeness.card import Card
from loralathe.likeness.vectors import Vector
from loralathe.progress import Progress
from loralathe.rendering.png import png_bytes
from loralathe.rendering.prompts import lift_tags, told
from loralathe.rendering.request import ImageRequest, Renderer
from loralathe.studies.axes import parse_axis
from loralathe.studies.axis import Axis
from loralathe.studies.bleed import pictures_beside
from loralathe.studies.card_scores import BLEED, LIKENESS, card_scores, look
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.commands import cell_recipe
from loralathe.studies.context import Context
from loralathe.studies.drawing.grid import GridLook, Preview, draw_grid, draw_sub_grids
from loralathe.studies.drawing.text import missing_characters
from loralathe.studies.measured import NO_CARD, CardFile
from loralathe.studies.over_seeds import OverSeeds, groups_csv, groups_json, over_seeds
from loralathe.studies.page.build import grid_page
from loralathe.studies.plan import (
    DEFAULT_LIMIT,
    Beside,
    GridPlan,
    Identify,
    Position,
    file_identity,
    plan_grid,
)
from loralathe.studies.results import CellResult, Scores, grid_infotext, results_csv, results_json
from loralathe.studies.scorers import DEFAULT_SCORERS, Scored, Scorer, score_all
from loralathe.studies.store import CellStore, SeedBook, render_missing
from loralathe.studies.study_file import STUDY_FILE, Identity, claim_folder, foreign_folder_note, identity_of
from loralathe.tensorfiles import write_whole

DEFAULT_CONTEXT = Context()
DEFAULT_LOOK = GridLook()
NO_SCORES: Mapping[Position, Scores] = {}


@dataclass(frozen=True)
class GridOptions:
    """Everything about a grid.

    request: what every cell has in common; may carry `<lora:…>` tags.
    x, y, z: axes as text, `NAME = VALUES`; empty for none.
    max_cells: more cells than this are an InputError; None: no limit.
    vary_seed: axes ("xy") along which the seed counts up.  random_seed: draw the seed (once per folder).
    redo: positions (x, y, z from 0) to render again.
    reference: the cell that scores compare with, in each scene (see `GridPlan.references`).
    identify: file → text that changes with its content; it names the stored cells.
    card: who is meant; each cell then has a likeness.  card_file: its name and SHA-256.
    bleed: measure what the LoRAs do to others, too.
    preview_seconds: how often `preview.png` is rewritten; 0 for none.
    embed: pictures inside grid.html instead of beside it.
    force: take the folder of another study.
    """

    request: ImageRequest
    folder: Path
    x: str = ""
    y: str = ""
    z: str = ""
    context: Context = DEFAULT_CONTEXT
    max_cells: int | None = DEFAULT_LIMIT
    vary_seed: str = ""
    random_seed: bool = False
    redo: tuple[Position, ...] = ()
    reference: Position = (0, 0, 0)
    scorers: tuple[Scorer, ...] = DEFAULT_SCORERS
    look: GridLook = DEFAULT_LOOK
    sub_grids: bool = False
    title: str = ""
    embed: bool = False
    force: bool = False
    card: Card | None = None
    card_file: CardFile = NO_CARD
    bleed: bool = False
    preview_seconds: float = 5.0
    identify: Identify = file_identity


@dataclass(frozen=True)
class GridResult:
    """The result of a grid: cells in layout order, how many pictures were rendered now, files written.

    groups: cells that differ by seed only, taken together.
    """

    plan: GridPlan
    cells: tuple[CellResult, ...]
    rendered: int
    files: tuple[Path, ...]
    groups: tuple[OverSeeds, ...] = ()


def plan_of(options: GridOptions) -> GridPlan:
    """The plan without rendering (`--dry-run`). Raises InputError for every mistake in the axes."""
    book = SeedBook(options.folder)
    context = replace(options.context, draw_seed=book.next)
    request = replace(options.request, seed=book.next()) if options.random_seed else options.request
    base = CellBuilder(request)
    axes: list[Axis | None] = []
    for letter, text in (("x", options.x), ("y", options.y), ("z", options.z)):
        with about(letter):
            axes.append(parse_axis(text, base, context) if text else None)
    x, y, z = axes
    plan = plan_grid(
        base,
        (x, y, z),
        context,
        identify=options.identify,
        limit=options.max_cells,
        vary_seed=options.vary_seed,
    )
    _check_variables(plan, context)
    _check_positions(plan, (*options.redo, options.reference))
    return replace(plan, beside=_beside(options, plan)) if options.bleed else plan


def _beside(options: GridOptions, plan: GridPlan) -> Beside:
    if options.card is None:
        raise InputError(
            "bleed needs an identity card, which tells who is in a picture",
            where=option("bleed", True),
            fix=f"give {option('card', 'FILE')}; lathe identity make writes one",
        )
    recipe = options.context.recipe
    identity = None if recipe is None else recipe.identity
    return pictures_beside(
        plan,
        options.card.trigger,
        options.identify,
        identity,
        options.reference,
        drawn_by=options.context.drawn_by,
    )


def _check_variables(plan: GridPlan, context: Context) -> None:
    """Each value of a recipe's variables by itself: the last one of a sweep must not fail after an hour."""
    recipe = context.recipe
    if recipe is None:
        return
    usual = dict(recipe.variables)
    for name, value in dict.fromkeys(pair for job in plan.jobs for pair in job.variables):
        if value != usual[name]:
            recipe.check(usual | {name: value})


def run_grid(options: GridOptions, renderer: Renderer, progress: Progress | None = None) -> GridResult:
    """Make the whole grid in `options.folder`; cells that are already there are not rendered again.

    Raises InputError for mistakes in the axes before anything is rendered. On Ctrl-C every finished cell is
    kept, the reports show those, and KeyboardInterrupt is raised again.
    """
    progress = progress or Progress()
    plan = plan_of(options)
    for scorer in options.scorers:
        scorer.check()
    if options.card is not None:
        options.card.check()
    claim_folder(options.folder, _identity(options, plan), force=options.force)
    store = CellStore(options.folder)
    store.forget(plan.cell(position).key for position in options.redo)
    _announce(options, plan, store, progress)
    existed = (options.folder / "grid.html").exists()
    page = _page(options, plan, _results(options, plan, store, {}), live=True)
    live = _write(options.folder, "grid.html", page)
    if not all(store.has(job.key) for job in plan.pictures):
        progress.message(f"watch {live}: it shows the pictures as they are made")
    try:
        rendered = _render(options, plan, renderer, progress)
    except KeyboardInterrupt:
        _write_reports(options, plan, _results(options, plan, store, {}))
        raise
    except LatheError:
        if not existed and not any(store.has(job.key) for job in plan.jobs):
            _remove_empty_study(options.folder)
        raise
    scores = _score(options, plan, store, progress)
    vectors: Mapping[str, Vector | None] = {}
    by_card: Mapping[Position, Scores] = {}
    if options.card is not None:
        vectors = look(options.card, list({job.key: 0 for job in plan.pictures}), store, progress)
        by_card = card_scores(plan, options.card, vectors)
    results = _results(options, plan, store, scores, by_card)
    groups = over_seeds(plan, results, options.reference, vectors)
    files = [
        *_write_reports(options, plan, results, groups),
        *_write_pictures(options, plan, store, progress),
    ]
    return GridResult(plan, results, rendered, tuple(files), groups)


def _identity(options: GridOptions, plan: GridPlan) -> Identity:
    return identity_of(
        "grid",
        options.folder,
        options.request,
        [cell.request for cell in plan.cells],
        {axis.title: [value.label for value in axis.values] for axis in plan.axes if axis.title},
        **options.context.facts,
    )


def _remove_empty_study(folder: Path) -> None:
    """A page without pictures only looks like a result. Seeds that were drawn stay for the next try."""
    for name in ("grid.html", STUDY_FILE):
        (folder / name).unlink(missing_ok=True)
    for place in (folder / "cells", folder):
        with suppress(OSError):  # absent, or something else is in it
            place.rmdir()


def _check_positions(plan: GridPlan, positions: tuple[Position, ...]) -> None:
    for position in positions:
        if not all(0 <= at < count for at, count in zip(position, plan.shape, strict=True)):
            shown, size = (
                " × ".join(map(str, numbers)) for numbers in ([p + 1 for p in position], plan.shape)
            )
            raise InputError(
                f"this grid does not have a cell {shown}", where=f"it has {size} cells (x × y × z)"
            )


def notes_of(options: GridOptions, plan: GridPlan) -> list[str]:
    """What is odd in the prompt's tags and in the values of axes, and a folder of another study."""
    return [
        *foreign_folder_note(options.folder, _identity(options, plan), force=options.force),
        *told(lift_tags(options.request.prompt).issues),
        *(note for axis in plan.axes for note in axis.notes),
    ]


def _announce(options: GridOptions, plan: GridPlan, store: CellStore, progress: Progress) -> None:
    for text in notes_of(options, plan):
        progress.message(text)
    present = sum(store.has(job.key) for job in plan.pictures)
    equal = len(plan.cells) - len(plan.jobs)
    parts = [f"{len(plan.cells)} cells" if len(plan.cells) > 1 else "1 cell"]
    parts += [f"{equal} of them equal to others"] if equal else []
    parts += [f"{counted(len(plan.beside.jobs), 'picture')} beside them"] if plan.beside.jobs else []
    parts += [f"{present} pictures already there"] if present else []
    progress.message(", ".join(parts))
    lacking = missing_characters(
        [text for axis in plan.axes for text in (axis.title, *(v.label for v in axis.values))]
    )
    if lacking and options.look.legend:
        progress.message(
            f"no font here draws {lacking}: grid.png shows boxes there, grid.html does not; "
            "install Noto Sans CJK (Debian, Ubuntu: fonts-noto-cjk)"
        )


def _render(options: GridOptions, plan: GridPlan, renderer: Renderer, progress: Progress) -> int:
    store = CellStore(options.folder)
    preview = Preview(options.folder / "preview.png", plan, options.look, options.preview_seconds)

    shown = {job.key for job in plan.jobs}

    def show(key: str, image: Image.Image) -> None:
        if options.preview_seconds and key in shown:
            preview.add(key, image)
        _tell_cells(plan, store, key, progress)

    for job in plan.jobs:
        if store.has(job.key):
            _tell_cells(plan, store, job.key, progress)
    if options.preview_seconds and any(not store.has(job.key) for job in plan.jobs):
        for job in plan.jobs:
            if store.has(job.key):
                preview.add(job.key, store.open(job.key))
    recipe = options.context.recipe
    evaluate = recipe.evaluate if recipe else None
    rendered = render_missing(plan.pictures, store, renderer, progress, evaluate=evaluate, on_cell=show)
    preview.remove()
    return rendered


def _tell_cells(plan: GridPlan, store: CellStore, key: str, progress: Progress) -> None:
    """An event for each cell that shows the picture."""
    path, count = str(store.picture(key)), len(plan.cells)
    for index, cell in enumerate(plan.cells):
        if cell.key == key:
            labels = tuple(label for label in cell.labels if label)
            progress.cell("grid", index, count, path, labels)


def _score(
    options: GridOptions, plan: GridPlan, store: CellStore, progress: Progress
) -> Mapping[str, Mapping[str, float | None]]:
    if not options.scorers:
        return {}
    references = plan.references(options.reference)
    compared = {to for cell, to in references.items() if to != cell}  # else nothing tells more than itself

    def items() -> Iterator[Scored]:
        for job in plan.jobs:
            to = references[job.cells[0]]
            other = store.open(plan.cell(to).key) if to in compared else None
            yield Scored(store.open(job.key), other, job.request.prompt)

    with progress.task("scores", total=len(plan.jobs), unit="pictures") as task:
        rows = score_all(options.scorers, items(), task.advance)
    return {job.key: row for job, row in zip(plan.jobs, rows, strict=True)}


def _results(
    options: GridOptions,
    plan: GridPlan,
    store: CellStore,
    scores: Mapping[str, Scores],
    by_card: Mapping[Position, Scores] = NO_SCORES,
) -> tuple[CellResult, ...]:
    context = options.context
    file = context.recipe.file if context.recipe else None
    empty: Scores = dict.fromkeys(scorer.name for scorer in options.scorers)
    of_card: Scores = dict.fromkeys(_card_names(options))
    return tuple(
        CellResult(
            cell,
            store.has(cell.key),
            {**scores.get(cell.key, empty), **by_card.get(cell.position, of_card)},
            cell_recipe(cell.request, recipe_file=file, variables=cell.variables),
        )
        for cell in plan.cells
    )


def _card_names(options: GridOptions) -> tuple[str, ...]:
    if options.card is None:
        return ()
    return (LIKENESS, BLEED) if options.bleed else (LIKENESS,)


def _page(
    options: GridOptions,
    plan: GridPlan,
    results: tuple[CellResult, ...],
    groups: Sequence[OverSeeds] = (),
    *,
    live: bool = False,
) -> bytes:
    return grid_page(
        plan,
        results,
        title=options.title or Path(os.path.realpath(options.folder)).name,
        folder=options.folder,
        reference=options.reference,
        chosen=(
            *_card_names(options),
            *(one.name for one in options.scorers if one not in DEFAULT_SCORERS),
        ),
        groups=groups,
        recipe=options.context.recipe is not None,
        embed=options.embed and not live,
        live=live,
    )


def _write(folder: Path, name: str, content: bytes) -> Path:
    write_whole(folder / name, content)
    return folder / name


def _write_reports(
    options: GridOptions,
    plan: GridPlan,
    results: tuple[CellResult, ...],
    groups: Sequence[OverSeeds] = (),
) -> list[Path]:
    means = options.folder / "means.csv"
    if not groups:
        means.unlink(missing_ok=True)  # of an earlier shape
    return [
        _write(options.folder, "results.csv", results_csv(plan, results)),
        _write(
            options.folder,
            "results.json",
            results_json(plan, results, groups_json(groups), options.card_file),
        ),
        _write(options.folder, "grid.html", _page(options, plan, results, groups)),
        *([_write(options.folder, means.name, groups_csv(plan, groups))] if groups else []),
    ]


def _write_pictures(options: GridOptions, plan: GridPlan, store: CellStore, progress: Progress) -> list[Path]:
    for old in options.folder.glob("grid-*.png"):  # tiles of an earlier shape would be taken for this one's
        old.unlink()
    text = grid_infotext(plan, store.open(plan.cells[0].key).info)
    files = []
    with progress.task("grid", total=None, unit="pictures") as task:
        for name, picture in _drawn(options, plan, store):
            files.append(_write(options.folder, name, png_bytes(picture, text)))
            task.advance()
    return files


def _drawn(options: GridOptions, plan: GridPlan, store: CellStore) -> Iterator[tuple[str, Image.Image]]:
    yield from draw_grid(plan, store.open, options.look)
    if options.sub_grids and plan.shape[2] > 1:
        yield from draw_sub_grids(plan, store.open, options.look)
