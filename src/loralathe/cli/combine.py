"""`lathe add-difference`, `lathe weighted-sum`, `lathe convert`: checkpoints from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe.cli.options import Common, FilePath, LatheCommand, Number, common, common_options
from loralathe.cli.saving import saving_options, take_saving_options

if TYPE_CHECKING:
    from loralathe.language import Recipe

ADD_EPILOG = """\b
M may be negative: plus moves A away from C, minus towards it.

\b
Examples:
  lathe add-difference A.safetensors tuned.safetensors base.safetensors -m 0.7
  lathe add-difference hinaB.safetensors B.safetensors A.safetensors -m -0.7 -o mix.safetensors
"""
SUM_EPILOG = """\b
Example:
  lathe weighted-sum A.safetensors B.ckpt -m 0.3 --metadata merge
"""
CONVERT_EPILOG = """\b
Examples:
  lathe convert model-fp32.safetensors --dtype fp16
  lathe convert model.ckpt
  lathe convert model.safetensors --bake-vae anime.vae.pt --discard "^model_ema\\."
"""


@click.command("add-difference", cls=LatheCommand, epilog=ADD_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@click.argument("b", type=FilePath(), metavar="B")
@click.argument("c", type=FilePath(), metavar="C")
@click.option("-m", "--multiplier", type=Number(), required=True, metavar="M", help="Any number.")
@saving_options("A, B, C")
@common_options()
def add_difference_command(a: Path, b: Path, c: Path, multiplier: float, **options: Any) -> None:
    """A + M*(B - C): what B has over C, added to A."""
    from loralathe.api.kinds import require_kinds
    from loralathe.api.recipes import add_difference_recipe

    choices, settings = take_saving_options(options), common(options)
    require_kinds([a, b, c])
    recipe = add_difference_recipe(a, b, c, multiplier, settings.file, settings.dtype)
    _launch(recipe, choices, settings)


@click.command("weighted-sum", cls=LatheCommand, epilog=SUM_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@click.argument("b", type=FilePath(), metavar="B")
@click.option("-m", "--multiplier", type=Number(), required=True, metavar="M", help="Share of B.")
@saving_options("A, B")
@common_options()
def weighted_sum_command(a: Path, b: Path, multiplier: float, **options: Any) -> None:
    """(1-M)*A + M*B: 0 is A, 1 is B."""
    from loralathe.api.kinds import require_kinds
    from loralathe.api.recipes import weighted_sum_recipe

    choices, settings = take_saving_options(options), common(options)
    require_kinds([a, b])
    recipe = weighted_sum_recipe(a, b, multiplier, settings.file, settings.dtype)
    _launch(recipe, choices, settings)


@click.command("convert", cls=LatheCommand, epilog=CONVERT_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@saving_options("A")
@common_options()
def convert_command(a: Path, **options: Any) -> None:
    """The same checkpoint as safetensors, with --dtype, --bake-vae and --discard where given.

    Marks and integers keep their type.
    """
    from loralathe.api.kinds import require_kinds
    from loralathe.api.recipes import convert_recipe

    choices, settings = take_saving_options(options), common(options)
    require_kinds([a])
    _launch(convert_recipe(a, settings.dtype, settings.file, choices), choices, settings)


def _launch(recipe: Recipe, choices: Mapping[str, object], settings: Common) -> None:
    from loralathe.api.recipes import with_saving
    from loralathe.cli.launch import launch

    launch(with_saving(recipe, choices), settings)
