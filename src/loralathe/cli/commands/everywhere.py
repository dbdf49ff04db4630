"""`lathe everywhere`: one LoRA on many bases, with the strength and blocks that are best on each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from loralathe import counted, points
from loralathe.cli.judging_options import scorers_named, search_options, weights_named
from loralathe.cli.language import Data
from loralathe.cli.options import FilePath, PictureCommand, Whole
from loralathe.cli.picture_options import (
    Profile,
    picture_options,
    pictures_kept,
    take_model_options,
    take_picture_screen,
)
from loralathe.cli.screen import Screen, heading
from loralathe.cli.study_options import study_options
from loralathe.cli.text import Columns, Facts

if TYPE_CHECKING:
    from loralathe import EverywhereReport, PreparedEverywhere

EPILOG = """\b
On each base a search like lathe tune: the strength, and a weight for each part of the blocks. At
the end everywhere.html shows the bases side by side, with the commands and the recipe for each.
Nothing is written into a model.

\b
A LoRA for a base of another depth goes through lathe transfer first; --from names the base that
it was made for. With --difference M is searched, too: base + strength * LoRA + M * (base - FROM).

\b
After Ctrl-C the same command goes on.

\b
Examples:
  lathe everywhere hina.safetensors --bases models --prompt "hina, a girl" --card hina.card
  lathe everywhere hina.safetensors:0.8 --bases baseA.safetensors --bases baseB.safetensors
      --from baseA.safetensors --prompt "hina, a girl" --card hina.card --budget "80 pictures"
"""


@click.command(
    "everywhere",
    cls=PictureCommand,
    section="Pictures",
    short_help="One LoRA on many bases: the best strength and blocks on each.",
    epilog=EPILOG,
)
@click.argument("lora", type=str, metavar="LORA[:STRENGTH]")
@click.option(
    "--bases",
    multiple=True,
    required=True,
    type=FilePath(),
    metavar="DIR|FILE",
    help="A folder of checkpoints, or one; repeatable.",
)
@click.option("--from", "source", type=FilePath(), metavar="A", help="The base that the LoRA was made for.")
@click.option(
    "--segments",
    type=Whole(min=0),
    default=3,
    metavar="N",
    help="Parts of the blocks with a weight each; 0: strength alone. Default: 3.",
)
@click.option(
    "--difference", is_flag=True, help="Search M * (base - A), too; each M makes a model in memory."
)
@click.option(
    "--sweep",
    multiple=True,
    metavar="AXIS",
    help="Search this instead: NAME = VALUES, as in lathe grid; repeatable.",
)
@click.option(
    "--budget",
    default="200 pictures",
    metavar="AMOUNT",
    help='How much each base may take: "80 pictures", "10 minutes". Default: 200 pictures.',
)
@search_options()
@study_options("everywhere.html", "Folder. Default: LORA-everywhere.")
@picture_options()
def everywhere_command(lora: str, dry_run: bool, **options: Any) -> None:
    """Find for each base the strength and blocks at which LORA draws its person best."""
    from loralathe import prepare_everywhere

    screen, profile = take_picture_screen(options), Profile(options)
    opening = take_model_options(options) | {"progress": screen.progress()}
    weigh, scorers = weights_named(options.pop("weigh")), scorers_named(options.pop("scorers"))
    prepared = prepare_everywhere(lora, scorers=scorers, weigh=weigh, **opening, **options)
    profile.save(screen, dry_run=dry_run)
    if dry_run:
        _show_plan(screen, prepared)
        return
    with pictures_kept(prepared.folder):
        report = prepared.run()
    show_everywhere(screen, report)


def _show_plan(screen: Screen, prepared: PreparedEverywhere) -> None:
    """--dry-run: what would be searched on each base, and which are left out."""
    rows = []
    for one in prepared.plan():
        axes = [] if one.plan is None else [axis.title for axis in one.plan.space.axes]
        size = 0 if one.plan is None else one.plan.space.size
        screen.event("base", base=one.base, axes=axes, candidates=size, left_out=one.left_out)
        rows.append(
            [
                Data(one.base.name),
                f"{size:,}" if size else "–",
                Data(", ".join(axes)) if size else one.left_out,
            ]
        )
    screen.show(
        heading(f"would search on {counted(len(rows), 'base')}"),
        Columns(["base", "candidates", "what is searched"], rows),
        Facts([("into", str(prepared.folder))]),
    )


def show_everywhere(screen: Screen, report: EverywhereReport) -> None:
    """A row for each base: its values, likeness and the other goals, and the files."""
    screen.event("everywhere", report=report.folder / "everywhere.json", files=report.files)
    rows = []
    for one, name in zip(report.bases, report.names, strict=True):
        best = one.best
        if one.report is None or best is None:
            rows.append([Data(name), one.left_out, *["–" for _ in report.goals], "–"])
            continue
        lora = report.lora.stem  # its name before each axis would fill the table
        chosen = ", ".join(
            label if axis == lora else f"{axis.removeprefix(f'{lora} ')} {label}"
            for axis, label in zip(one.report.axes, best.labels, strict=False)
        )
        values = ["–" if value is None else points(value.mean) for value in one.values]
        rows.append([Data(name), Data(chosen) if chosen else "as given", *values, str(one.report.pictures)])
    names = {path.name: path for path in report.files}
    screen.show(
        heading(f"{report.lora.stem} on {counted(len(rows), 'base')}"),
        Columns(["base", "best values", *(name for name, _ in report.goals), "pictures"], rows),
        Facts(
            [
                ("page", str(names["everywhere.html"])),
                ("numbers", f"{names['everywhere.csv']}, everywhere.json"),
            ]
        ),
    )
