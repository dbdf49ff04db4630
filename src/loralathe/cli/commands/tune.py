"""`lathe tune`: search for the best strengths, blocks or variables instead of rendering a whole grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from loralathe import counted, points, signed_points
from loralathe.cli.judging_options import scorers_named, search_options, weights_named
from loralathe.cli.language import Data, say_label, say_series
from loralathe.cli.opening import open_pictures, recipe_options
from loralathe.cli.options import FilePath, PictureCommand
from loralathe.cli.picture_options import Profile, picture_options, pictures_kept, take_picture_screen
from loralathe.cli.screen import Screen, heading
from loralathe.cli.study_options import study_options
from loralathe.cli.text import Columns, Facts

if TYPE_CHECKING:
    from loralathe import PreparedTune, TuneReport

EPILOG = """\b
A candidate takes one value of every --sweep. It begins on two seeds, the same for all. One that
another surely beats is dropped; the best get more seeds. At the end the recommended one and what
you gave meet on fresh seeds. Nothing is written into a model: tune.html has the commands for it.

\b
Goals: likeness up (how much it is the person), bleed down (how much other people change, seen
without the trigger word), prompt up, diversity up, or any score by its name, -NAME to lower it.

\b
The first goal comes first: of all that are within two points of the best likeness (--within), the
one that is best in the other goals is recommended.

\b
After Ctrl-C the same command goes on. A grid's pictures are taken with --reuse FOLDER.

\b
Examples:
  lathe tune baseA.safetensors hina.safetensors --prompt "hina, a girl" --card hina.card
      --sweep "hina unet = 0.4..1.2" --sweep "hina te = 0..1" --sweep "hina IN04-IN08 = 0..1 [5]"
  lathe tune --recipe article.toml --step B2 --prompt "hina, a girl" --card hina.card
      --sweep "M = -0.7..0.7 (+0.1)" --budget "30 minutes"
"""


@click.command(
    "tune",
    cls=PictureCommand,
    section="Pictures",
    short_help="Search for the best strengths, blocks, … by likeness, instead of a whole grid.",
    epilog=EPILOG,
)
@click.argument("files", nargs=-1, type=str, metavar="CHECKPOINT [ADAPTER…]")
@click.option(
    "--sweep",
    multiple=True,
    metavar="AXIS",
    help="What may change: NAME = VALUES, as in lathe grid; repeatable.",
)
@click.option(
    "--budget",
    default="200 pictures",
    metavar="AMOUNT",
    help='How much it may take: "200 pictures", "30 minutes". Default: 200 pictures.',
)
@search_options()
@click.option(
    "--reuse",
    multiple=True,
    type=FilePath(),
    metavar="FOLDER",
    help="A grid or search whose pictures are taken where they are the same; repeatable.",
)
@study_options("tune.html", "Folder of the search. Default: one here, named after the inputs.")
@recipe_options("Search in what a recipe makes, in memory, instead of a CHECKPOINT.")
@picture_options()
def tune_command(files: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Search for the values that look best: by likeness, bleed and prompt, with as few pictures as it
    takes.
    """
    from loralathe import prepare_tune

    screen, profile = take_picture_screen(options), Profile(options)
    weigh = weights_named(options.pop("weigh"))
    model, adapters = open_pictures(files, screen, options)
    with model:
        scorers = scorers_named(options.pop("scorers"))
        prepared = prepare_tune(model, *adapters, scorers=scorers, weigh=weigh, **options)
        profile.save(screen, dry_run=dry_run)
        if dry_run:
            _show_plan(screen, prepared)
            return
        folder = prepared.options.folder
        with pictures_kept(folder):
            report = prepared.run()
    show_tune(screen, report)


def _show_plan(screen: Screen, prepared: PreparedTune) -> None:
    """--dry-run: the axes, what counts, and how many pictures a grid would take."""
    plan, options = prepared.plan(), prepared.options
    for text in plan.notes:
        screen.note(text)
    axes = {axis.title: [value.label for value in axis.values] for axis in plan.space.axes}
    goals = [f"{goal.name} {'up' if goal.up else 'down'}" for goal in options.goals]
    grid = plan.grid_pictures * options.first
    screen.event(
        "plan",
        folder=options.folder,
        candidates=plan.space.size,
        axes=axes,
        goals=goals,
        grid_pictures=grid,
        budget={"pictures": options.budget.pictures, "seconds": options.budget.seconds},
    )
    budget = options.budget
    wanted = [f"{say_label(goal.name)} {'↑' if goal.up else '↓'}" for goal in options.goals]
    rows = [
        *((Data(title), Data(", ".join(values))) for title, values in axes.items()),
        ("goals", Data(say_series(wanted))),
        (
            "pictures",
            f"{budget.pictures} at most" if budget.pictures else f"{budget.seconds:.0f} seconds long",
        ),
        ("a grid", f"{grid:,} pictures on {options.first} seeds"),
        ("into", str(options.folder)),
    ]
    screen.show(heading(f"would search among {counted(plan.space.size, 'candidate')}"), Facts(rows))


def show_tune(screen: Screen, report: TuneReport) -> None:
    """The recommended candidate, its check, and the files."""
    best, check = report.best, report.check
    screen.event(
        "tune",
        recommended=None if best is None else dict(zip(report.axes, best.labels, strict=False)),
        values=None if best is None else _means(report, best.values),
        differences=None if check is None else _means(report, check.differences),
        command=None if best is None or best.recipe is None else best.recipe.command,
        pictures=report.pictures,
        rendered=report.rendered,
        grid_pictures=report.grid_pictures,
        files=report.files,
    )
    assert best is not None
    by_name = {path.name: path for path in report.files}
    chosen: list[tuple[str, str]] = [
        (Data(title), Data(label)) for title, label in zip(report.axes, best.labels, strict=False)
    ]
    rows = [
        *(chosen or [("values", "as given: nothing that was tried beats it")]),
        (
            "pictures",
            f"{report.pictures}; a grid of all {report.grid_candidates:,} takes {report.grid_pictures:,}",
        ),
        ("page", str(by_name["tune.html"])),
        ("numbers", f"{by_name['tune.csv']}, tune.json"),
    ]
    if best.recipe is not None:
        rows += [("recipe", str(by_name["recommended.toml"])), ("merge", Data(best.recipe.command))]
    screen.show(heading(f"the best of {counted(len(report.candidates), 'candidate')}"), Facts(rows))
    if check is not None:
        screen.show(_check_table(report))


def _means(report: TuneReport, values: Sequence[Any]) -> dict[str, float | None]:
    return {
        name: None if one is None else one.mean for (name, *_), one in zip(report.goals, values, strict=True)
    }


def _check_table(report: TuneReport) -> Columns:
    """Each goal on the fresh seeds, in points of 100."""
    assert report.check is not None
    check = report.check
    other = "as given" if check.against == 0 else f"no. {check.against}"
    rows = []
    for (name, *_), one, two, gap in zip(
        report.goals, check.values, check.others, check.differences, strict=True
    ):
        interval = "" if gap is None else "too few seeds"
        if gap is not None and gap.low is not None and gap.high is not None:
            interval = f"{signed_points(gap.low)} … {signed_points(gap.high)}"
        mean = "—" if gap is None else signed_points(gap.mean)
        rows.append([name, _points(one), _points(two), mean, interval])
    return Columns(["on fresh seeds", "recommended", other, "difference", "95 %"], rows)


def _points(value: Any) -> str:
    return "—" if value is None else points(value.mean)
