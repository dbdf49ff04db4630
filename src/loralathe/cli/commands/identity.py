"""`lathe identity`: the identity card of a person, and how like it pictures are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loralathe import InputError, fixed
from loralathe.cli.language import Data
from loralathe.cli.likeness import show_likeness
from loralathe.cli.options import FilePath, LatheCommand
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Facts

if TYPE_CHECKING:
    from loralathe import Card

EPILOG = """\b
A card holds what a model sees in 3 to 8 pictures of one person: numbers, no pictures. Other
commands ask it how like that person a picture is, from -1 to 1. The models are yours:
docs/likeness.md says which ones fit, and how to get them. `--model family` is the demo's.

\b
Without --detector the model looks at the whole picture, as models of drawn characters do.
A card knows its models by their content; this machine remembers where their files are.

\b
Examples:
  lathe identity make hina.card --photo a.png --photo b.png --photo c.png
      --model w600k_r50.onnx --detector det_10g.onnx --trigger hina
  lathe identity make hina.card a.png b.png c.png d.png --model family --trigger hina
  lathe identity make hina.card --study grid --cell "3,1" --cell "3,2" --cell "3,4" --model family
  lathe identity check hina.card picture1.png picture2.png
"""
ACTIONS = ("make", "check")


@click.command(
    "identity",
    cls=LatheCommand,
    section="Pictures",
    short_help="Make an identity card of a person, or say how like it pictures are.",
    epilog=EPILOG,
)
@click.argument("action", type=click.Choice(ACTIONS), metavar="[make|check]")
@click.argument("card", type=FilePath(), metavar="CARD")
@click.argument("pictures", nargs=-1, type=FilePath(), metavar="[PICTURE…]")
@click.option(
    "--photo",
    multiple=True,
    type=FilePath(),
    metavar="FILE",
    help="make: a picture of the person; 3 to 8 of them. PICTURES are taken, too.",
)
@click.option(
    "--study",
    type=FilePath(),
    metavar="FOLDER",
    help="make, check: take pictures of this grid, too.",
)
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="CELL",
    help="With --study: only this cell, column,row[,sheet] from 1; repeatable.",
)
@click.option(
    "--model",
    type=FilePath(),
    metavar="FILE",
    help="ONNX model of faces or characters. check: where the card's is, if it is not found.",
)
@click.option(
    "--detector",
    type=FilePath(),
    metavar="FILE",
    help="ONNX model that finds faces: YuNet or SCRFD. Default: none; the model sees the whole picture.",
)
@click.option(
    "--trigger", default="", metavar="WORDS", help="make: the words that call the person in prompts."
)
@click.option(
    "--prepare",
    metavar="NAME|FILE",
    help="make: how the model wants pixels: arcface, pixels, clip, ccip, imagenet, or its "
    "preprocessor_config.json. Default: that file beside the model, else as models of faces want them.",
)
@click.option(
    "--face-box",
    metavar="BOX",
    help="make: look at this part of pictures: left,top,right,bottom, each 0 to 1.",
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors.")
def identity_command(
    action: str,
    card: Path,
    pictures: tuple[Path, ...],
    photo: tuple[Path, ...],
    study: Path | None,
    cells: tuple[str, ...],
    model: Path | None,
    detector: Path | None,
    trigger: str,
    prepare: str | None,
    face_box: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the card of a person from a few pictures, or check pictures against a card."""
    import loralathe

    screen = Screen(as_json, quiet)
    model = _named(model)
    if cells and study is None:
        raise InputError("--cell belongs to --study FOLDER", fix="name the folder of the grid, too")
    if study is not None:
        pictures = (*pictures, *loralathe.study_pictures(study, cells))
    if action == "check":
        for given, flag in (
            (photo, "--photo"),
            (trigger, "--trigger"),
            (prepare, "--prepare"),
            (face_box, "--face-box"),
        ):
            if given:
                raise InputError(f"{flag} belongs to lathe identity make", fix="leave it out")
        if not pictures:
            raise InputError("there is no picture to check", fix="name pictures after the card")
        found = loralathe.read_card(card, model=model, detector=detector)
        if dry_run:
            _show_card(screen, "would check pictures against this card", card, found)
            return
        show_likeness(
            screen, card, found, loralathe.check_identity(found, pictures, progress=screen.progress())
        )
        return
    if model is None:
        raise InputError(
            "a card needs a model that recognises faces or characters",
            fix="give --model FILE; docs/likeness.md says which ones fit",
        )
    made = loralathe.make_card(
        [*photo, *pictures],
        model,
        detector=detector,
        trigger=trigger,
        prepare=prepare,
        face_box=face_box,
        output=card,
        force=force,
        dry_run=dry_run,
        progress=screen.progress(),
    )
    _show_card(screen, "would write an identity card" if dry_run else "an identity card", card, made)


def _named(model: Path | None) -> Path | None:
    """--model: `family` stands for the judge of the demo's family."""
    from loralathe.demo import family_judge

    return family_judge() if model is not None and str(model) == "family" else model


def _show_card(screen: Screen, title: str, path: Path, card: Card) -> None:
    names = [one.name for one in card.references]
    screen.event(
        "card",
        file=path,
        kind=card.kind,
        model=card.model,
        detector=card.detector,
        references=names,
        threshold=card.threshold,
        spread=card.spread,
        trigger=card.trigger,
    )
    low, high = (fixed(end, 3) for end in (min(card.spread), max(card.spread)))
    rows = [
        ("file", Data(path)),
        ("pictures", Data(", ".join(names))),
        ("model", Data(card.model.name)),
        ("detector", Data(card.detector.name) if card.detector else "none"),
        ("trigger", Data(card.trigger) if card.trigger else "none"),
        ("spread", f"{low} to {high}, each picture against the others"),
        ("threshold", fixed(card.threshold, 3)),
    ]
    screen.show(heading(title), Facts(rows))
