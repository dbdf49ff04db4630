"""`lathe eval`: a formula as people write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loralathe.cli.merge import named_lists, with_blocks
from loralathe.cli.options import LatheCommand, block_options, common, common_options
from loralathe.cli.saving import saving_options, take_saving_options
from loralathe.errors import InputError

EVAL_EPILOG = """\b
Formulas know + and -, * by numbers, parentheses, @ for block weights, adapters as functions
(hina(te=0.5)), extract(delta, rank=64), and fp16(x) and bf16(x) for rounding in between; and
merge methods: weighted_sum, add_difference, triple_sum, sum_twice, train_difference, smooth_add,
cosine_a, cosine_b, adjust, slerp, ties, dare, della, breadcrumbs (docs/merge-methods.md).

\b
Examples:
  lathe eval "A + 0.7*hina" A=baseA.safetensors hina=hina.safetensors
  lathe eval "B + hina@Face - M*(B - A)" A=a.safetensors B=b.safetensors hina=hina.safetensors \\
        --blocks Face=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1 --set M=0.7 -o result.safetensors
  lathe eval "ties(A, B, C, density=0.3)" A=a.safetensors B=b.safetensors C=c.safetensors
  lathe eval "extract(B - A, rank=32)" A=a.safetensors B=b.safetensors -o difference.safetensors
"""
SET_HELP = "A variable's value; repeatable."


@click.command("eval", cls=LatheCommand, epilog=EVAL_EPILOG)
@click.argument("formula", metavar="FORMULA")
@click.argument("files", nargs=-1, metavar="NAME=FILE…")
@click.option("--set", "settings", multiple=True, metavar="NAME=NUMBER", help=SET_HELP)
@block_options
@saving_options("NAME")
@common_options()
def eval_command(
    formula: str,
    files: tuple[str, ...],
    settings: tuple[str, ...],
    blocks: tuple[str, ...],
    presets: Path | None,
    missing_blocks: str | None,
    **options: Any,
) -> None:
    """Evaluate FORMULA over the files that its names stand for, in one pass."""
    from loralathe.api.recipes import formula_recipe, with_saving
    from loralathe.cli.launch import launch
    from loralathe.cli.names import input_files, numbers

    saving = take_saving_options(options)
    choices = with_blocks(common(options), presets, missing_blocks)
    example = 'lathe eval "A + 0.7*hina" A=base.safetensors hina=hina.safetensors'
    inputs = input_files(files, example)
    if not inputs:
        raise InputError("the formula has no files to work on", fix=example)
    lists = named_lists(blocks)
    recipe = formula_recipe(formula, inputs, numbers(settings), lists, choices.file, choices.dtype)
    launch(with_saving(recipe, saving), choices)
