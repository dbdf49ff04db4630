"""What searches have in common: `lathe tune`, and `lathe everywhere`, which is one on each base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from loralathe import InputError
from loralathe.cli.options import FilePath, Share, Whole

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--card", type=FilePath(), metavar="FILE", help="The person meant, as lathe identity makes it."
    ),
    click.option(
        "--scorer",
        "scorers",
        multiple=True,
        metavar="NAME=MODEL",
        help="Measure: identity=MODEL.onnx, prompt=FOLDER, or family (the demo's); repeatable.",
    ),
    click.option(
        "--photo",
        multiple=True,
        type=FilePath(),
        metavar="FILE",
        help="A photo of the person, for identity; repeatable.",
    ),
    click.option(
        "--face-box", metavar="BOX", help="Where the face is in pictures: left,top,right,bottom, each 0 to 1."
    ),
    click.option(
        "--likeness",
        default="",
        metavar="SCORE",
        help="The score that tells likeness, where there is no --card.",
    ),
    click.option(
        "--trigger",
        multiple=True,
        metavar="WORD",
        help="The word that calls the person; without it, bleed is seen. Default: the card's; repeatable.",
    ),
    click.option(
        "--goal",
        multiple=True,
        metavar="NAME",
        help="What counts: likeness, bleed, prompt, diversity, a score, or -SCORE; repeatable.",
    ),
    click.option(
        "--weigh", multiple=True, metavar="NAME=N", help="What a point of a goal is worth; repeatable."
    ),
    click.option(
        "--also", multiple=True, metavar="PROMPT", help="Another prompt; pictures take turns; repeatable."
    ),
    click.option(
        "--first-seeds",
        type=Whole(min=2),
        default=2,
        metavar="N",
        help="Seeds of a new candidate. Default: 2.",
    ),
    click.option(
        "--most-seeds",
        type=Whole(min=2),
        default=16,
        metavar="N",
        help="Most seeds of a candidate. Default: 16.",
    ),
    click.option(
        "--check-seeds",
        type=Whole(min=0),
        default=8,
        metavar="N",
        help="Fresh seeds for the end. Default: 8.",
    ),
    click.option(
        "--error",
        type=Share(),
        default=0.05,
        metavar="X",
        help="Chance of dropping a candidate that none beats. Default: 0.05.",
    ),
    click.option(
        "--search",
        type=click.Choice(["tpe", "nsga2"]),
        default="tpe",
        help="Optuna's sampler. Default: tpe; nsga2 wants hundreds of candidates.",
    ),
    click.option(
        "--force", is_flag=True, help="Replace a study in the folder that has other axes, files or prompt."
    ),
    click.option("--title", default="", metavar="TEXT", help="Title of the page."),
    click.option("--embed", is_flag=True, help="Put the pictures into tune.html, to send it around."),
)


def search_options(command: Command) -> Command:
    """How pictures are judged, and how many seeds a candidate gets."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def weights_named(words: Sequence[str]) -> dict[str, float]:
    """--weigh NAME=N."""
    from loralathe import parse_number

    found = {}
    for word in words:
        name, equals, number = word.rpartition("=")
        if not equals or not name:
            raise InputError(f"'{word}' is no weight of a goal", fix="write --weigh bleed=2")
        found[name.strip()] = parse_number(number)
    return found
