"""`lathe cure`: a LoRA that acts less without its trigger word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from loralathe import percentage, points
from loralathe.cli.judging_options import looked_at_options, person_options, scorers_named, seeds_options
from loralathe.cli.language import Data
from loralathe.cli.options import FilePath, Number, PictureCommand, Whole, output_option
from loralathe.cli.picture_options import Profile, picture_options, pictures_kept, take_picture_screen
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts

if TYPE_CHECKING:
    from loralathe import CurePlan, CureReport

EPILOG = """\b
Against "everybody looks like her": some pictures are drawn with the trigger word, as many by the
base without it. What each layer of the LoRA reads in both tells what it does without the word,
and that is damped. How much is found by pictures: as much as the likeness allows.

\b
--refine 100 goes further: the factors are trained to predict what the LoRA predicts with the
word, and what the base predicts without it. That takes the memory of a training.

\b
Names, ranks and dtype of the file stay, and no photos are needed.
After Ctrl-C the same command goes on.

\b
Example:
  lathe cure baseA.safetensors hina.safetensors --card hina.card --prompt "hina, smiling, forest"
      --people "a man, brown hair, forest" -o hina-cured.safetensors
"""


@click.command(
    "cure",
    cls=PictureCommand,
    section="LoRAs",
    short_help="Damp what a LoRA does without its trigger word.",
    epilog=EPILOG,
)
@click.argument("base", type=FilePath(), metavar="BASE")
@click.argument("lora", type=FilePath(), metavar="LORA")
@person_options()
@click.option(
    "--people",
    multiple=True,
    metavar="PROMPT",
    help="A prompt of somebody else, without the word; repeatable.",
)
@click.option(
    "--keep",
    type=Number(),
    default=2.0,
    metavar="POINTS",
    help="Points of likeness that may be lost. Default: 2 of 100.",
)
@click.option(
    "--watch",
    type=Whole(min=1),
    default=12,
    metavar="N",
    help="Pictures with the word, and without it, whose layers are looked into. Default: 12.",
)
@click.option(
    "--refine",
    type=Whole(min=0),
    default=0,
    metavar="STEPS",
    help="Train the damped factors, so often; 100 is plenty. Default: 0.",
)
@looked_at_options(
    seeds_options(
        (4, "Seeds that a damping begins on. Default: 4."),
        (24, "Most seeds of one. Default: 24."),
        (12, "Fresh seeds for the end. Default: 12."),
        "Chance that what the seeds call sure is wrong. Default: 0.05.",
    )
)
@output_option
@picture_options(elsewhere=False)
def cure_command(base: str, lora: str, dry_run: bool, **options: Any) -> None:
    """Write LORA so that it changes other people less: what it does without its trigger word is damped."""
    from loralathe import prepare_cure

    screen, profile = take_picture_screen(options), Profile(options)
    options["scorers"] = scorers_named(options.pop("scorers"))
    prepared = prepare_cure(base, lora, progress=screen.progress(), **options)
    profile.save(screen, dry_run=dry_run)
    if dry_run:
        _show_plan(screen, prepared.plan())
        return
    with pictures_kept(prepared.folder):
        found = prepared.run()
    show_cure(screen, found.report)
    screen.event("written", file=found.file)
    if found.file is not None:
        screen.show(Facts([("written", str(found.file))]))


def _show_plan(screen: Screen, plan: CurePlan) -> None:
    """What would be looked at."""
    for text in plan.notes:
        screen.note(text)
    screen.event(
        "cure-plan",
        modules=plan.modules,
        goals=plan.goals,
        watched=plan.watched,
        most_pictures=plan.most_pictures,
        folder=plan.folder,
        output=plan.output,
    )
    screen.show(
        heading("would look at"),
        Facts(
            [
                ("modules", f"{plan.modules:,}"),
                ("goals", Data(", ".join(plan.goals))),
                ("looked into", f"{plan.watched} pictures"),
                ("pictures", f"{plan.most_pictures} at most"),
                ("into", str(plan.folder)),
                ("output", str(plan.output)),
            ]
        ),
    )


def show_cure(screen: Screen, report: CureReport) -> None:
    """What each block does without the word, what was tried, and what the fresh seeds tell."""
    screen.event(
        "cure",
        levels=report.levels,
        blocks={one.block: [one.before, one.after] for one in report.blocks},
        sentences=report.sentences(),
        pictures=report.pictures,
        rendered=report.rendered,
        files=report.files,
    )
    blocks = [[one.block, _percent(one.before), _percent(one.after)] for one in report.blocks]
    screen.show(Columns(["block", "acts without the word", "cured"], blocks))
    tried = [
        [
            " ".join(f"{level:g}" for level in one.levels),
            *("—" if value is None else points(value.mean) for value in one.values),
            str(one.seeds),
            "yes" if one.keeps else "no",
        ]
        for one in report.tried
    ]
    names = [name for name, _ in report.goals]
    screen.show(Columns(["damping", *names, "seeds", "keeps the likeness"], tried))
    screen.show(*report.sentences())
    screen.show(Facts([("pictures", f"{report.pictures}"), ("files", ", ".join(map(str, report.files)))]))


def _percent(value: float | None) -> str:
    return "—" if value is None else percentage(value)
