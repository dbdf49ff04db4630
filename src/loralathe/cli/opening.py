"""What pictures, grids and searches begin with: a checkpoint or a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from loralathe import InputError
from loralathe.cli.options import FilePath, Option, stack, variables_option
from loralathe.cli.picture_options import take_model_options
from loralathe.cli.screen import Screen

if TYPE_CHECKING:
    from loralathe import OpenModel


def recipe_options(text: str) -> Option[Any]:
    """--recipe, --step and --set."""
    return stack([
        click.option("--recipe", type=FilePath(), metavar="FILE", help=text),
        click.option(
            "--step",
            metavar="NAME",
            help="Which step of the recipe. Default: the only checkpoint that it saves.",
        ),
        variables_option("Give a variable of the recipe a value; repeatable."),
    ])  # fmt: skip


def open_pictures(
    files: tuple[str, ...], screen: Screen, options: dict[str, Any]
) -> tuple[OpenModel, tuple[str, ...]]:
    """The model, and the adapters. A recipe takes the checkpoint's place."""
    from loralathe import open_model, open_recipe

    recipe, step, variables = (options.pop(name) for name in ("recipe", "step", "variables"))
    opening = take_model_options(options) | {"progress": screen.progress()}
    if recipe is not None:
        return open_recipe(recipe, step, variables, **opening), files
    for given, flag in ((step, "--step"), (variables, "--set")):
        if given:
            raise InputError(f"{flag} belongs to a recipe", fix="add --recipe FILE, or leave it out")
    if not files:
        command = click.get_current_context().info_name
        raise InputError(
            "there is nothing to render",
            fix=f"give a CHECKPOINT, or --recipe FILE; see lathe {command} --help",
        )
    return open_model(files[0], **opening), files[1:]
