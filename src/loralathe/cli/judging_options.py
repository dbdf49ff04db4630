"""How pictures are judged: identity cards, scorers, goals. Grids, searches and soups take these options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from loralathe import InputError
from loralathe.cli.options import FilePath, Number, Option, Share, Whole, stack

PERSON = "The person meant, as lathe identity makes it."


def card_option(text: str = PERSON) -> Option[Any]:
    return click.option("--card", type=FilePath(), metavar="FILE", help=text)


def scorer_options(text: str) -> Option[Any]:
    """--scorer, and who is meant where there is no card."""
    return stack([
        click.option("--scorer", "scorers", multiple=True, metavar="NAME=MODEL", help=text),
        click.option(
            "--photo",
            multiple=True,
            type=FilePath(),
            metavar="FILE",
            help="A photo of the person, for identity; repeatable.",
        ),
        click.option(
            "--face-box",
            metavar="BOX",
            help="Where the face is in pictures: left,top,right,bottom, each 0 to 1.",
        ),
    ])  # fmt: skip


def person_options() -> Option[Any]:
    """Who is meant, and in which prompts."""
    return stack([
        card_option(),
        scorer_options(
            "Measure: identity=MODEL.onnx, prompt=FOLDER, or family (the demo's); repeatable."
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
            help="The word that calls the person; without it, bleed is seen. "
            "Default: the card's; repeatable.",
        ),
        click.option(
            "--also", multiple=True, metavar="PROMPT", help="Another prompt; pictures take turns; repeatable."
        ),
    ])  # fmt: skip


def judging_options(within: float = 2.0) -> Option[Any]:
    """What counts in a search. within: its default."""
    return stack([
        person_options(),
        click.option(
            "--goal",
            multiple=True,
            metavar="NAME",
            help="What counts, the first goal first: likeness, bleed, prompt, diversity, SCORE, -SCORE.",
        ),
        click.option(
            "--within",
            type=Number(),
            default=within,
            metavar="POINTS",
            help=f"How much of the first goal may be given up for the others. Default: {within:g} of 100.",
        ),
        click.option(
            "--weigh",
            multiple=True,
            metavar="NAME=N",
            help="What a point of a goal counts beside one of another, the first left out; repeatable.",
        ),
    ])  # fmt: skip


def seeds_options(
    first: tuple[int, str], most: tuple[int, str], check: tuple[int | None, str], error: str
) -> Option[Any]:
    """How many seeds one gets, and the chance of a mistake; defaults, and texts of help."""
    two = Whole(min=2)
    return stack([
        click.option("--first-seeds", type=two, default=first[0], metavar="N", help=first[1]),
        click.option("--most-seeds", type=two, default=most[0], metavar="N", help=most[1]),
        click.option(
            "--check-seeds",
            type=Whole(min=0),
            default=check[0],
            metavar="N",
            help=check[1],
        ),
        click.option("--error", type=Share(), default=0.05, metavar="X", help=error),
    ])  # fmt: skip


def looked_at_options(most: Option[Any]) -> Option[Any]:
    """Of a LoRA that is written after pictures were looked at; most: `seeds_options`, between the others."""
    return stack([
        click.option(
            "--strength",
            type=Number(),
            default=1.0,
            metavar="X",
            help="Strength of the LoRA in pictures. Default: 1.",
        ),
        most,
        click.option(
            "--folder",
            type=FilePath(),
            metavar="FOLDER",
            help="Folder of the pictures. Default: one beside the output.",
        ),
        click.option("--force", is_flag=True, help="Replace the output, and another study in the folder."),
    ])  # fmt: skip


def search_options() -> Option[Any]:
    """What `lathe tune` and `lathe everywhere`, which is one on each base, have in common."""
    return stack([
        judging_options(),
        seeds_options(
            (2, "Seeds of a new candidate. Default: 2."),
            (24, "Most seeds of a candidate. Default: 24."),
            (None, "Fresh seeds for the end. Default: 8; fewer for less than 160 pictures."),
            "Chance of dropping a candidate that none beats. Default: 0.05.",
        ),
        click.option(
            "--search",
            type=click.Choice(["tpe", "nsga2"]),
            default="tpe",
            help="Optuna's sampler. Default: tpe; nsga2 wants hundreds of candidates.",
        ),
    ])  # fmt: skip


def scorers_named(words: Sequence[str]) -> list[Any]:
    """--scorer: `family` stands for the scorers of the demo's family."""
    from loralathe.demo import family_scorers

    found: list[Any] = []
    for word in words:
        found += family_scorers() if word == "family" else [word]
    return found


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
