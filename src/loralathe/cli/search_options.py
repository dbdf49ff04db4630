"""What searches have in common: `lathe tune`, and `lathe everywhere`, which is one on each base."""

from __future__ import annotations

from typing import Any

import click

from loralathe.cli.judging_options import judging_options, seeds_options
from loralathe.cli.options import Option, stack


def search_options() -> Option[Any]:
    """How pictures are judged, and how many seeds a candidate gets."""
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
        click.option(
            "--force",
            is_flag=True,
            help="Replace a study in the folder that has other axes, files or prompt.",
        ),
        click.option("--title", default="", metavar="TEXT", help="Title of the page."),
        click.option("--embed", is_flag=True, help="Put the pictures into tune.html, to send it around."),
    ])  # fmt: skip
