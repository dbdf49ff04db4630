"""`lathe grid`: pictures side by side that differ along chosen axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe import counted, fixed
from loralathe.cli.estimates import estimate_rows
from loralathe.cli.folders import folder_options
from loralathe.cli.judging_options import card_option, scorer_options, scorers_named
from loralathe.cli.language import Data, say_after, say_label
from loralathe.cli.opening import open_pictures, recipe_options
from loralathe.cli.options import PictureCommand, Whole
from loralathe.cli.picture_options import Profile, picture_options, take_picture_screen
from loralathe.cli.screen import Screen, heading
from loralathe.cli.study_options import study_options
from loralathe.cli.text import Columns, Facts
from loralathe.cli.wide import cells

if TYPE_CHECKING:
    from loralathe import GridPlan, GridResult, OverSeeds, PreparedGrid

EPILOG = """\b
VALUES are 0, 0.3, 0.5    0..1 (+0.25)    0..1 [5]    'a, b', c
The name of a LoRA is an axis: hina is its strength, hina te its text encoder's, hina IN04-IN08
the weight of those blocks. So is the name of every variable of --recipe.

\b
Finished pictures are kept in FOLDER/cells. After Ctrl-C the same command goes on from there, and
a value added later costs only its own cells.

\b
Examples:
  lathe grid baseA.safetensors hina.safetensors --prompt "a girl" --x "hina = 0, 0.3, 0.5, 0.7, 1"
  lathe grid baseA.safetensors hina.safetensors --prompt "girl" --x "hina = 0..1" --y "seed = 1-3"
  lathe grid --recipe article.toml --step B2 --prompt "a girl" --x "M = -0.7..0.7 (+0.35)"
"""


class GridCommand(PictureCommand):
    """The help lists one example for every axis there is, read from the table of axes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from loralathe import axis_examples

        with formatter.section("Axes, by example"):
            for line in in_two_columns([*axis_examples(), "M = -0.7..0.7 (+0.35)"]):
                formatter.write(f"  {line}\n")
        super().format_epilog(ctx, formatter)


def in_two_columns(items: Sequence[str]) -> list[str]:
    """The items, half of them beside the other half."""
    half = -(-len(items) // 2)
    width = max(map(cells, items[:half])) + 4
    right = [*items[half:], ""]
    return [(left + " " * (width - cells(left)) + right[i]).rstrip() for i, left in enumerate(items[:half])]


@click.command(
    "grid",
    cls=GridCommand,
    section="Pictures",
    short_help="Render a grid of pictures over strengths, blocks, seeds, prompts, …",
    epilog=EPILOG,
)
@click.argument("files", nargs=-1, type=str, metavar="CHECKPOINT [ADAPTER…]")
@click.option("--x", default="", metavar="AXIS", help="Columns: NAME = VALUES.")
@click.option("--y", default="", metavar="AXIS", help="Rows: the same.")
@click.option("--z", default="", metavar="AXIS", help="Sheets: the same.")
@study_options("grid.html", "Folder of the grid. Default: one here, named after the inputs.")
@recipe_options("Render what a recipe makes, in memory, instead of a CHECKPOINT.")
@click.option(
    "--max-cells",
    type=Whole(min=1),
    metavar="N",
    default=400,
    help="Refuse a grid of more cells. Default: 400.",
)
@click.option(
    "--redo",
    multiple=True,
    metavar="CELL",
    help="Render a cell again: column,row[,sheet] from 1; repeatable.",
)
@click.option("--vary-seed", default="", metavar="AXES", help="Use seed + 1, + 2, … along these axes: xy, …")
@scorer_options("Measure: identity=MODEL.onnx, prompt=FOLDER, family (the demo's), or none; repeatable.")
@card_option("An identity card (lathe identity make): how like the person each cell is.")
@click.option(
    "--bleed",
    is_flag=True,
    help="With --card: how far LoRAs change others, by pictures without the trigger words.",
)
@click.option(
    "--reference",
    default="1,1",
    metavar="CELL",
    help="The cell that others of its seed and prompt are compared with. Default: 1,1.",
)
@folder_options("vae_dir")
@click.option("--legend/--no-legend", default=True, help="Write values beside the pictures. Default: yes.")
@click.option(
    "--margin",
    type=Whole(0, 512),
    default=4,
    metavar="N",
    help="Pixels between pictures. Default: 4.",
)
@click.option("--sub-grids", is_flag=True, help="Write a picture for each value of Z, too.")
@picture_options()
def grid_command(files: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Render a grid of pictures: columns, rows and sheets along up to three axes."""
    screen, profile = take_picture_screen(options), Profile(options)
    model, adapters = open_pictures(files, screen, options)
    with model:
        prepared = model.prepare_grid(*adapters, scorers=scorers_named(options.pop("scorers")), **options)
        profile.save(screen, dry_run=dry_run)
        if dry_run:
            _show_plan(screen, prepared)
            return
        folder = prepared.options.folder
        try:
            result = prepared.run()
        except KeyboardInterrupt:
            kept = f"finished cells are kept in {folder}; the same command goes on from there"
            raise KeyboardInterrupt(kept) from None
    show_grid(screen, folder, result)


def _show_plan(screen: Screen, prepared: PreparedGrid) -> None:
    """--dry-run: the size, what is there already, the axes, and what the rest will take."""
    from loralathe import estimate

    plan, folder = prepared.plan(), prepared.options.folder
    for text in prepared.notes(plan):
        screen.note(text)
    there, found = prepared.count_finished(plan), estimate(prepared, plan)
    axes = {letter: _axis(plan, number) for number, letter in enumerate("xyz") if plan.axes[number].title}
    screen.event(
        "plan",
        folder=folder,
        cells=len(plan.cells),
        pictures=len(plan.pictures),
        there=there,
        axes=axes,
        estimate=found,
    )
    rows = [
        *_axis_rows(plan),
        ("pictures", f"{len(plan.pictures)} distinct, {there} of them there already"),
        *estimate_rows(found),
        ("into", str(folder)),
    ]
    screen.show(heading(f"would make a grid of {counted(len(plan.cells), 'cell')}"), Facts(rows))


def show_grid(screen: Screen, folder: Path, result: GridResult) -> None:
    """What was rendered now, and the files to look at."""
    plan = result.plan
    there = len(plan.pictures) - result.rendered
    screen.event(
        "grid",
        folder=folder,
        cells=len(plan.cells),
        pictures=len(plan.pictures),
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
    screen.show(heading(f"a grid of {counted(len(plan.cells), 'cell')}"), Facts(rows))
    _show_means(screen, result)


def _show_means(screen: Screen, result: GridResult) -> None:
    """What an identity card says of cells that differ by seed only: mean and 95 % interval."""
    names = [name for name in ("likeness", "bleed") if any(name in group.scores for group in result.groups)]
    if not names:
        return
    titles = list(dict.fromkeys(title for group in result.groups for title in group.labels))
    rows = [
        [
            *(group.labels.get(title, "") for title in titles),
            *(_mean(group, name) for name in names),
            "–" if group.diversity is None else fixed(group.diversity, 3),
        ]
        for group in result.groups
    ]
    screen.show("", heading("over the seeds"), Columns([*titles, *names, "diversity"], rows))


def _mean(group: OverSeeds, name: str) -> str:
    if (found := group.scores.get(name)) is None:
        return "–"
    return fixed(found.mean, 3) + ("" if found.high is None else f" ± {found.high - found.mean:.3f}")


def _axis_rows(plan: GridPlan) -> list[tuple[str, str]]:
    return [
        (letter, Data(say_after(_title(axis.title), _values([value.label for value in axis.values]))))
        for letter, axis in zip("xyz", plan.axes, strict=True)
        if axis.title
    ]


def _title(title: str) -> str:
    """`Seed` in the person's language; the name of a LoRA as it is."""
    return say_label(title) if title[:1].isupper() else title


def _values(labels: list[str], shown: int = 12) -> str:
    if len(labels) <= shown:
        return ", ".join(labels)
    return f"{', '.join(labels[: shown - 1])} … {labels[-1]} ({len(labels)} values)"


def _axis(plan: GridPlan, number: int) -> dict[str, object]:
    axis = plan.axes[number]
    return {"title": axis.title, "values": [value.label for value in axis.values]}
