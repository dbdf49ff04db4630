"""`lathe run`: a recipe file, or a file again from the record that it carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe.cli.merge import named_lists, with_blocks
from loralathe.cli.options import (
    FilePath,
    LatheCommand,
    block_options,
    common,
    common_options,
    search_option,
)
from loralathe.commands import as_flag
from loralathe.errors import InputError, Message, did_you_mean

if TYPE_CHECKING:
    from loralathe.cli.screen import Screen
    from loralathe.language import Recipe

EPILOG = """\b
A recipe is a TOML file with [inputs], [variables], [blocks], [steps] and [save]; paths in it are
relative to its folder. Or it is a file that loralathe made: it is made again from its own record,
byte for byte on the same machine and version. Its inputs are looked for by content, in its folder
and in those of --search; NAME=FILE names them.

\b
Examples:
  lathe run article.toml
  lathe run article.toml --set M=0.5 --set rank=32 --dry-run
  lathe run article.toml -o B2=other.safetensors --force
  lathe run hinaB.safetensors A=bases/a.safetensors -o again.safetensors
  lathe run hinaB.safetensors --write-recipe hinaB.toml
"""


@click.command("run", cls=LatheCommand, epilog=EPILOG)
@click.argument("recipe", type=FilePath(), metavar="RECIPE.toml|FILE")
@click.argument("files", nargs=-1, metavar="[NAME=FILE…]")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=NUMBER", help="A variable's value; repeatable."
)
@search_option
@click.option("--show", is_flag=True, help="Print the recipe as TOML, run nothing.")
@click.option("--write-recipe", type=FilePath(), metavar="FILE", help="The same into a file.")
@block_options
@common_options(dtype=None, outputs=True)
def run_command(
    recipe: Path,
    files: tuple[str, ...],
    settings: tuple[str, ...],
    search: tuple[Path, ...],
    show: bool,
    write_recipe: Path | None,
    blocks: tuple[str, ...],
    presets: Path | None,
    missing_blocks: str | None,
    **options: Any,
) -> None:
    """Make every file that a recipe saves, or a file that loralathe made, again."""
    from loralathe.api.running import prepare
    from loralathe.cli.launch import launch
    from loralathe.cli.names import input_files, numbers
    from loralathe.cli.screen import Screen

    choices = with_blocks(common(options), presets, missing_blocks)
    given = input_files(files, "lathe run article.toml A=base.safetensors")
    screen = Screen(choices.as_json, choices.quiet)
    if show or write_recipe:
        _print(screen, recipe, given, write_recipe, choices.force)
        return
    prepared = prepare(
        recipe,
        given,
        variables=numbers(settings),
        blocks=named_lists(blocks),
        dtype=choices.dtype,
        search=search,
        options=choices.run_options(),
        progress=screen.progress(),
    )
    files_of = dict(_output_of(word, prepared.recipe) for word in choices.output)
    saves = tuple(replace(save, file=files_of.get(save.step, save.file)) for save in prepared.recipe.saves)
    launch(replace(prepared.recipe, saves=saves), choices, prepared.options)


def _print(screen: Screen, path: Path, given: Mapping[str, Path], target: Path | None, force: bool) -> None:
    """--show and --write-recipe."""
    import loralathe
    from loralathe.tensorfiles import write_text

    text = Message(loralathe.recorded_recipe(path, given)).spelled(as_flag)
    if target is not None:
        write_text(target, text, force=force, inputs=[path, *given.values()])
    screen.event("recipe_text", text=text, file=target)
    screen.verbatim(*text.splitlines() if target is None else [f"wrote {target}"])


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
