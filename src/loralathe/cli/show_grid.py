"""A grid for people, and as a line of JSON: what would be rendered, and what was."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from loralathe.cli.layout import Facts
from loralathe.cli.screen import Screen, heading
from loralathe.cli.wording import plural

if TYPE_CHECKING:
    from loralathe.studies import GridOptions, GridResult
    from loralathe.studies.plan import GridPlan


def show_grid_plan(screen: Screen, options: GridOptions) -> None:
    """--dry-run: the size, what is there already, and the axes."""
    from loralathe.studies.store import CellStore

    plan = plan_without_writing(options)
    there = sum(CellStore(options.folder).has(job.key) for job in plan.jobs)
    axes = {letter: _axis(plan, number) for number, letter in enumerate("xyz") if plan.axes[number].title}
    screen.event(
        "plan", folder=options.folder, cells=len(plan.cells), pictures=len(plan.jobs), there=there, axes=axes
    )
    rows = [
        *_axis_rows(plan),
        ("pictures", f"{len(plan.jobs)} distinct, {there} of them there already"),
        ("into", str(options.folder)),
    ]
    screen.show(heading(f"would make a grid of {plural(len(plan.cells), 'cell')}"), Facts(rows))


def plan_without_writing(options: GridOptions) -> GridPlan:
    """The plan; seeds that it draws are not kept."""
    from loralathe.studies import plan_of

    with TemporaryDirectory() as folder:
        seeds = options.folder / "seeds.json"
        if seeds.is_file():
            shutil.copy(seeds, folder)
        return plan_of(replace(options, folder=Path(folder)))


def show_grid(screen: Screen, options: GridOptions, result: GridResult) -> None:
    """What was rendered now, and the files to look at."""
    plan = result.plan
    there = len(plan.jobs) - result.rendered
    screen.event(
        "grid",
        folder=options.folder,
        cells=len(plan.cells),
        pictures=len(plan.jobs),
        rendered=result.rendered,
        files=result.files,
    )
    by_name = {path.name: path for path in result.files}
    rows = [
        *_axis_rows(plan),
        ("pictures", f"{result.rendered} rendered" + (f", {there} were there already" if there else "")),
        ("grid", str(by_name["grid.png"])),
        ("page", str(by_name["grid.html"])),
        ("numbers", f"{by_name['results.csv']}, results.json"),
    ]
    tiles = [name for name in by_name if name.startswith("grid-")]
    rows += [("tiles", f"{len(tiles)} in full size: {tiles[0]} …")] if tiles else []
    screen.show(heading(f"a grid of {plural(len(plan.cells), 'cell')}"), Facts(rows))


def _axis_rows(plan: GridPlan) -> list[tuple[str, str]]:
    return [
        (letter, f"{axis.title}: {_values([value.label for value in axis.values])}")
        for letter, axis in zip("xyz", plan.axes, strict=True)
        if axis.title
    ]


def _values(labels: list[str], shown: int = 12) -> str:
    if len(labels) <= shown:
        return ", ".join(labels)
    return f"{', '.join(labels[: shown - 1])} … {labels[-1]} ({len(labels)} values)"


def _axis(plan: GridPlan, number: int) -> dict[str, object]:
    axis = plan.axes[number]
    return {"title": axis.title, "values": [value.label for value in axis.values]}
