"""`lathe soup`: the average of a training's epochs, plain or found by likeness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from loralathe import points
from loralathe.cli.judging_options import (
    judging_options,
    looked_at_options,
    scorers_named,
    seeds_options,
    weights_named,
)
from loralathe.cli.language import Data, say_label, say_series
from loralathe.cli.options import (
    FilePath,
    Number,
    PictureCommand,
    Whole,
    adapter_metadata_option,
    output_option,
    threads_option,
)
from loralathe.cli.picture_options import Profile, picture_options, pictures_kept, take_picture_screen
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts

if TYPE_CHECKING:
    from loralathe import SoupPlan, SoupReport

EPILOG = """\b
What the files change is averaged, not their factors: products of factors of different files would
be wrong. Without --rank, --conv-rank or --energy the result is exact and the ranks add up.

\b
With --card and --base, each epoch draws the same seeds. The soup begins with the best one;
another joins when the soup gets surely better. At the end the soup, as it is written, and the
best epoch meet on fresh seeds. After Ctrl-C the same command goes on.

\b
Examples:
  lathe soup hina-000010.safetensors hina-000020.safetensors hina-000030.safetensors --rank 32
  lathe soup hina-0000*.safetensors --ema 0.9 -o hina-soup.safetensors
  lathe soup hina-0000*.safetensors --base baseA.safetensors --card hina.card
      --prompt "hina, a girl"
"""


@click.command(
    "soup",
    cls=PictureCommand,
    section="LoRAs",
    short_help="Average the epochs of a training, plainly or by likeness.",
    epilog=EPILOG,
)
@click.argument("epochs", nargs=-1, required=True, metavar="EPOCH…")
@click.option(
    "--weights", metavar="W,W,…", help="What each epoch weighs, in the order given; divided by their sum."
)
@click.option(
    "--ema",
    type=Number(),
    metavar="B",
    help="A moving average over the epochs, such as 0.9: each weighs B times the next one.",
)
@click.option("--rank", "--dim", "rank", type=Whole(min=1), metavar="N", help="Cut the result to this rank.")
@click.option(
    "--conv-rank", type=Whole(min=1), metavar="N", help="Rank of 3×3 convolutions. Default: that of --rank."
)
@click.option(
    "--energy",
    type=Number(),
    metavar="E",
    help="Cut to the smallest file that keeps the fraction E of the soup, such as 0.99.",
)
@output_option
@click.option(
    "--save-dtype",
    type=click.Choice(["fp16", "bf16", "fp32"]),
    default="fp16",
    metavar="NAME",
    help="Type of the saved numbers: fp16, bf16 or fp32. Default: fp16.",
)
@adapter_metadata_option("new")
@click.option(
    "--base",
    type=FilePath(),
    metavar="CHECKPOINT",
    help="Look at pictures of this checkpoint; needs --card or --scorer.",
)
@judging_options(within=1.0)
@looked_at_options(
    seeds_options(
        (4, "Seeds that one begins on. Default: 4."),
        (24, "Most seeds of one. Default: 24."),
        (12, "Fresh seeds for the end. Default: 12."),
        "Chance that an epoch joins although it does not help. Default: 0.05.",
    )
)
@threads_option("Worker threads for the average. Default: one on every core.")
@picture_options()
def soup_command(epochs: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Write one LoRA that is the average of EPOCHs of one training: steadier than any one of them."""
    from loralathe import prepare_soup
    from loralathe.cli.report import show_and_run

    screen, profile = take_picture_screen(options), Profile(options)
    for name, given in (
        ("weights", _numbers(options.pop("weights"))),
        ("weigh", weights_named(options.pop("weigh"))),
    ):
        options[name] = given
    ranks = {name: options.pop(name) for name in ("rank", "conv_rank", "energy")}
    options["ranks"] = {name: value for name, value in ranks.items() if value is not None}
    options["scorers"] = scorers_named(options.pop("scorers"))
    prepared = prepare_soup(*epochs, progress=screen.progress(), **options)
    profile.save(screen, dry_run=dry_run)
    plan = prepared.plan()
    weights, study = plan.weights, None
    if dry_run or plan.folder is None:
        _show_plan(screen, plan)
    if not dry_run and plan.folder is not None:
        with pictures_kept(plan.folder):
            study = prepared.study()
        assert study is not None
        show_soup(screen, study)
        weights = study.mix
    if weights is not None:
        show_and_run(prepared.writing(weights, study=study), screen, dry_run)


def _numbers(text: str | None) -> tuple[float, ...]:
    from loralathe import parse_number

    return tuple(parse_number(word) for word in text.split(",")) if text else ()


def _show_plan(screen: Screen, plan: SoupPlan) -> None:
    """The weights, or how many pictures it takes to find them."""
    for text in plan.notes:
        screen.note(text)
    screen.event(
        "soup-plan",
        epochs=plan.epochs,
        weights=plan.weights,
        goals=plan.goals,
        most_pictures=plan.most_pictures,
        folder=plan.folder,
    )
    weights = plan.weights or ("?",) * len(plan.epochs)
    rows: list[tuple[str, str]] = [
        (Data(name), weight if isinstance(weight, str) else f"{weight:.4g}")
        for name, weight in zip(plan.epochs, weights, strict=True)
    ]
    if plan.folder is not None:
        rows += [
            ("goals", Data(say_series(map(say_label, plan.goals)))),
            ("pictures", f"{plan.most_pictures} at most"),
            ("into", str(plan.folder)),
        ]
    screen.show(heading("the epochs and their weights"), Facts(rows))


def show_soup(screen: Screen, report: SoupReport) -> None:
    """What was found, in sentences, and each epoch's numbers."""
    screen.event(
        "soup",
        weights=dict(zip((epoch.name for epoch in report.epochs), report.mix, strict=True)),
        best=report.epochs[report.best].name,
        sentences=report.sentences(),
        pictures=report.pictures,
        rendered=report.rendered,
        files=report.files,
    )
    names = [name for name, *_ in report.goals]
    rows = [
        [epoch.name, *("—" if value is None else points(value.mean) for value in epoch.values),
         str(epoch.seeds), f"{epoch.weight:.4g}"]
        for epoch in report.epochs
    ]  # fmt: skip
    screen.show(Columns(["epoch", *names, "seeds", "weight"], rows))
    screen.show(*report.sentences())
    screen.show(Facts([("pictures", f"{report.pictures}"), ("files", ", ".join(map(str, report.files)))]))
