"""`lathe eval` and `lathe run`: formulas and recipes as people write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe.cli.merge import named_lists, with_blocks
from loralathe.cli.options import Common, FilePath, LatheCommand, block_options, common, common_options
from loralathe.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from loralathe.recipes import Recipe

EVAL_EPILOG = """\b
Formulas know + and -, * by numbers, parentheses, @ for block weights, adapters as functions
(hina(te=0.5)), extract(delta, rank=64), and fp16(x) and bf16(x) for rounding in between.

\b
Examples:
  lathe eval "A + 0.7*hina" A=baseA.safetensors hina=hina.safetensors
  lathe eval "B + hina@Face - M*(B - A)" A=a.safetensors B=b.safetensors hina=hina.safetensors \\
        --blocks Face=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1 --set M=0.7 -o result.safetensors
  lathe eval "extract(B - A, rank=32)" A=a.safetensors B=b.safetensors -o difference.safetensors
"""
RUN_EPILOG = """\b
A recipe is a TOML file with [inputs], [variables], [blocks], [steps] and [save]; paths in it are
relative to its folder.

\b
Examples:
  lathe run article.toml
  lathe run article.toml --set M=0.5 --set rank=32 --dry-run
  lathe run article.toml -o B2=other.safetensors --force
"""
SET_HELP = "A variable's value; repeatable."


@click.command("eval", cls=LatheCommand, epilog=EVAL_EPILOG)
@click.argument("formula", metavar="FORMULA")
@click.argument("files", nargs=-1, metavar="NAME=FILE…")
@click.option("--set", "settings", multiple=True, metavar="NAME=NUMBER", help=SET_HELP)
@block_options
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
    from loralathe.cli.launch import launch
    from loralathe.cli.names import numbers, split_assignments

    choices = with_blocks(common(options), presets, missing_blocks)
    example = 'lathe eval "A + 0.7*hina" A=base.safetensors hina=hina.safetensors'
    inputs = {name: Path(text) for name, text in split_assignments(files, "an input", example).items()}
    if not inputs:
        raise InputError("the formula has no files to work on", fix=example)
    recipe = eval_recipe(formula, inputs, numbers(settings), named_lists(blocks), choices)
    launch(recipe, choices)


def eval_recipe(
    formula: str,
    inputs: Mapping[str, Path],
    variables: Mapping[str, float],
    lists: Mapping[str, str],
    choices: Common,
) -> Recipe:
    """The formula as a recipe of one step."""
    from loralathe.cli.names import beside, formula_name
    from loralathe.recipes import Save, make_recipe

    step = "result"
    while step in inputs or step in variables or step in lists:
        step += "_"
    file = choices.file or beside(next(iter(inputs.values())), formula_name(formula, inputs))
    return make_recipe(
        inputs=inputs,
        steps={step: formula},
        variables=variables,
        blocks=lists,
        saves=[Save(step, file, choices.dtype)],
        where="the formula",
    )


@click.command("run", cls=LatheCommand, epilog=RUN_EPILOG)
@click.argument("recipe", type=FilePath(), metavar="RECIPE.toml")
@click.option("--set", "settings", multiple=True, metavar="NAME=NUMBER", help=SET_HELP)
@block_options
@common_options(dtype=None, outputs=True)
def run_command(
    recipe: Path,
    settings: tuple[str, ...],
    blocks: tuple[str, ...],
    presets: Path | None,
    missing_blocks: str | None,
    **options: Any,
) -> None:
    """Make every file that the recipe saves, in one pass over its inputs."""
    from loralathe.cli.launch import launch
    from loralathe.cli.names import numbers
    from loralathe.recipes import read_recipe

    choices = with_blocks(common(options), presets, missing_blocks)
    found = read_recipe(recipe).with_variables(numbers(settings))
    found = replace(found, blocks={**found.blocks, **named_lists(blocks)})
    launch(_redirected(found, choices.output, choices.dtype), choices)


def _redirected(recipe: Recipe, outputs: Sequence[str], dtype: str | None) -> Recipe:
    """-o and --dtype of the command line win over [save]."""
    if not recipe.saves:
        raise InputError(
            "the recipe saves nothing",
            where=recipe.where,
            fix='add [save] with a line such as: B2 = { file = "B2.safetensors" }',
        )
    files = dict(_output_of(word, recipe) for word in outputs)
    saves = tuple(
        replace(save, file=files.get(save.step, save.file), dtype=dtype or save.dtype)
        for save in recipe.saves
    )
    return replace(recipe, saves=saves)


def _output_of(word: str, recipe: Recipe) -> tuple[str, Path]:
    """`STEP=FILE`, or `FILE` where one step is saved."""
    steps = [save.step for save in recipe.saves]
    step, equals, file = word.partition("=")
    if equals and step in steps:
        return step, Path(file)
    if len(steps) == 1 and not (equals and step.isidentifier()):
        return steps[0], Path(word)
    choices = " or ".join(f"-o {name}=FILE" for name in steps)
    raise InputError(
        f"the recipe saves no step '{step}'" if equals else "the recipe saves several steps",
        where=f"-o {word}",
        fix=(did_you_mean(step, steps) if equals else "") or f"write {choices}",
    )
