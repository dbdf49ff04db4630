"""`lathe add-difference`, `lathe weighted-sum`, `lathe convert`: checkpoints from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from loralathe.cli.options import Common, FilePath, LatheCommand, Number, common, common_options
from loralathe.errors import InputError

STEP = "result"

ADD_EPILOG = """\b
M may be negative: plus moves A away from C, minus towards it.

\b
Examples:
  lathe add-difference A.safetensors tuned.safetensors base.safetensors -m 0.7
  lathe add-difference hinaB.safetensors B.safetensors A.safetensors -m -0.7 -o mix.safetensors
"""
SUM_EPILOG = """\b
Example:
  lathe weighted-sum A.safetensors B.safetensors -m 0.3
"""
CONVERT_EPILOG = """\b
Example:
  lathe convert model-fp32.safetensors --dtype fp16
"""


@click.command("add-difference", cls=LatheCommand, epilog=ADD_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@click.argument("b", type=FilePath(), metavar="B")
@click.argument("c", type=FilePath(), metavar="C")
@click.option("-m", "--multiplier", type=Number(), required=True, metavar="M", help="Any number.")
@common_options()
def add_difference_command(a: Path, b: Path, c: Path, multiplier: float, **options: Any) -> None:
    """A + M*(B - C): what B has over C, added to A."""
    from loralathe.cli.names import stem

    name = f"{stem(a)}{multiplier:+g}({stem(b)}-{stem(c)})"
    _combine({"A": a, "B": b, "C": c}, "A + M*(B - C)", {"M": multiplier}, name, common(options))


@click.command("weighted-sum", cls=LatheCommand, epilog=SUM_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@click.argument("b", type=FilePath(), metavar="B")
@click.option("-m", "--multiplier", type=Number(), required=True, metavar="M", help="Share of B.")
@common_options()
def weighted_sum_command(a: Path, b: Path, multiplier: float, **options: Any) -> None:
    """(1-M)*A + M*B: 0 is A, 1 is B."""
    from loralathe.cli.names import stem

    name = f"{stem(a)}+{multiplier:g}({stem(b)}-{stem(a)})"
    _combine({"A": a, "B": b}, "(1 - M)*A + M*B", {"M": multiplier}, name, common(options))


@click.command("convert", cls=LatheCommand, epilog=CONVERT_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@common_options(dtype=None)
def convert_command(a: Path, **options: Any) -> None:
    """The same checkpoint with its numbers stored as --dtype says; marks and integers stay."""
    from loralathe.cli.names import stem

    settings = common(options)
    if settings.dtype in (None, "source"):
        raise InputError(
            "convert needs the dtype to convert to", fix="add --dtype fp16, --dtype bf16 or --dtype fp32"
        )
    _combine({"A": a}, "A", {}, f"{stem(a)}_{settings.dtype}", settings)


def _combine(
    inputs: Mapping[str, Path], formula: str, variables: Mapping[str, float], name: str, settings: Common
) -> None:
    from loralathe.cli.launch import launch
    from loralathe.cli.names import beside
    from loralathe.recipes import Save, make_recipe

    file = settings.file or beside(inputs["A"], name)
    recipe = make_recipe(
        inputs=inputs,
        steps={STEP: formula},
        variables=variables,
        saves=[Save(STEP, file, settings.dtype)],
        where="the formula",
    )
    launch(recipe, settings)
