"""`lathe add-difference`, `lathe weighted-sum`, `lathe convert`: checkpoints from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from loralathe.cli.options import FilePath, LatheCommand, Number, common, common_options
from loralathe.cli.saving import save_of, saving_options, taken
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
    from loralathe.cli.names import stem

    name = f"{stem(a)}{multiplier:+g}({stem(b)}-{stem(c)})"
    _combine({"A": a, "B": b, "C": c}, "A + M*(B - C)", {"M": multiplier}, name, options)


@click.command("weighted-sum", cls=LatheCommand, epilog=SUM_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@click.argument("b", type=FilePath(), metavar="B")
@click.option("-m", "--multiplier", type=Number(), required=True, metavar="M", help="Share of B.")
@saving_options("A, B")
@common_options()
def weighted_sum_command(a: Path, b: Path, multiplier: float, **options: Any) -> None:
    """(1-M)*A + M*B: 0 is A, 1 is B."""
    from loralathe.cli.names import stem

    name = f"{stem(a)}+{multiplier:g}({stem(b)}-{stem(a)})"
    _combine({"A": a, "B": b}, "(1 - M)*A + M*B", {"M": multiplier}, name, options)


@click.command("convert", cls=LatheCommand, epilog=CONVERT_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@saving_options("A")
@common_options()
def convert_command(a: Path, **options: Any) -> None:
    """The same checkpoint as safetensors, with --dtype, --bake-vae and --discard where given.

    Marks and integers keep their type.
    """
    from loralathe.cli.names import stem

    dtype, vae = options["dtype"], options["bake_vae"]
    name = stem(a) + ("" if dtype == "source" else f"_{dtype}") + (f"+{stem(vae)}" if vae else "")
    changes = ("bake_vae", "discard", "metadata_json")
    if dtype == "source" and not any(options[key] for key in changes) and not _is_pickle(a):
        raise InputError(
            "nothing would be converted",
            where=str(a),
            fix="add --dtype fp16, bf16 or fp32, --bake-vae FILE or --discard REGEX",
        )
    _combine({"A": a}, "A", {}, name, options)


def _is_pickle(path: Path) -> bool:
    from loralathe.tensorfiles import open_tensorfile

    with open_tensorfile(path) as file:
        return file.format == "pickle"


def _combine(
    inputs: Mapping[str, Path],
    formula: str,
    variables: Mapping[str, float],
    name: str,
    options: dict[str, Any],
) -> None:
    from loralathe.api.kinds import require_kinds
    from loralathe.cli.launch import launch
    from loralathe.cli.names import beside
    from loralathe.recipes import make_recipe

    choices = taken(options)
    settings = common(options)
    require_kinds(inputs.values())
    file = settings.file or beside(inputs["A"], name)
    recipe = make_recipe(
        inputs=inputs,
        steps={STEP: formula},
        variables=variables,
        saves=[save_of(STEP, file, settings.dtype, choices)],
        where="the formula",
    )
    launch(recipe, settings)
