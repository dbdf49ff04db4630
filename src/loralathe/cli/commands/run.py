"""`lathe run`: a recipe file, or a file again from the record that it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from loralathe.cli.folders import folder_options, take_folders
from loralathe.cli.language import say
from loralathe.cli.options import (
    FilePath,
    LatheCommand,
    common_options,
    input_files,
    lists_option,
    measured_option,
    preset_options,
    search_option,
    take_screen,
    variables_option,
)
from loralathe.cli.screen import Screen

EPILOG = """\b
A recipe is a TOML file with [inputs], [variables], [blocks], [steps] and [save]; paths in it are
relative to its folder. Or it is a file that loralathe made: it is made again from its own record,
byte for byte on the same machine and version, in the file that -o names. Its inputs are looked
for by content, in its folder and in those of --search; NAME=FILE names them.

\b
Examples:
  lathe run article.toml
  lathe run article.toml --set M=0.5 --set rank=32 --dry-run
  lathe run article.toml -o B2=other.safetensors --force
  lathe run hinaB.safetensors A=bases/a.safetensors -o again.safetensors
  lathe run hinaB.safetensors --write-recipe hinaB.toml
"""


def _outputs(ctx: click.Context, param: click.Parameter, words: Sequence[str]) -> str | dict[str, str] | None:
    """`STEP=FILE` words, or FILE where one step is saved."""
    parts = [word.partition("=") for word in words]
    named = {step: file for step, equals, file in parts if equals and step.isidentifier()}
    return named or (words[-1] if words else None)


@click.command(
    "run",
    cls=LatheCommand,
    section="Formulas and recipes",
    short_help="Run a recipe file, or make a file again from its own record.",
    epilog=EPILOG,
)
@click.argument("recipe", type=FilePath(), metavar="RECIPE.toml|FILE")
@click.argument("files", nargs=-1, metavar="[NAME=FILE…]")
@variables_option("Give a variable of the recipe another value; repeatable.")
@search_option
@click.option("--show", is_flag=True, help="Print the recipe as TOML, and run nothing.")
@click.option(
    "--write-recipe", type=FilePath(), metavar="FILE", help="Write the recipe into FILE, and run nothing."
)
@lists_option()
@preset_options
@click.option(
    "-o",
    "--output",
    multiple=True,
    metavar="[STEP=]FILE",
    callback=_outputs,
    help="Write the one saved step, or the step of this name, to FILE; repeatable.",
)
@measured_option
@folder_options()
@common_options(dtype=None)
def run_command(
    recipe: Path,
    files: tuple[str, ...],
    show: bool,
    write_recipe: Path | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Run a recipe file, or make a file that loralathe made again."""
    import loralathe
    from loralathe.cli.report import show_and_run

    screen = take_screen(options)
    given = input_files(files, "lathe run article.toml A=base.safetensors")
    if show or write_recipe:
        if write_recipe and dry_run:
            screen.note(f"{write_recipe} would be written")
        places = take_folders(options)
        _print(screen, recipe, given, None if dry_run else write_recipe, options["force"], places)
        return
    prepared = loralathe.run.prepare(recipe, given, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run, in_formulas=True)


def _print(
    screen: Screen,
    path: Path,
    given: Mapping[str, Path],
    target: Path | None,
    force: bool,
    places: Mapping[str, Any],
) -> None:
    """--show and --write-recipe."""
    from loralathe import as_flag, recorded_recipe, write_text

    text = recorded_recipe(path, given, **places).spelled(as_flag)
    if target is not None:
        write_text(target, text, force=force, inputs=[path, *given.values()])
    screen.event("recipe_text", text=text, file=target)
    screen.verbatim(*text.splitlines() if target is None else [say(f"wrote {target}")])
