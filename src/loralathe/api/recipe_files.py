"""Recipes with many steps, and the records in files that loralathe made: run, plan, show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api import recipes
from loralathe.api.arguments import (
    SUFFIX,
    Inputs,
    PathLike,
    RunKeywords,
    SearchKeywords,
    as_path,
    run_options,
)
from loralathe.api.measuring import with_study
from loralathe.api.prepared import Planned, Prepared, running
from loralathe.api.search import Search, search_of
from loralathe.errors import InputError, Message, did_you_mean, option
from loralathe.tensorfiles import is_folder_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.engine import RunOptions
    from loralathe.language import Recipe
    from loralathe.progress import Progress

__all__ = ["plan", "recorded_recipe", "run"]

Outputs = PathLike | Mapping[str, PathLike]
"""A file, where one step is saved, or files by the names of the steps."""


@running
def run(
    recipe: PathLike | Recipe,
    inputs: Inputs | None = None,
    *,
    variables: Mapping[str, float] | None = None,
    blocks: Mapping[str, str] | None = None,
    output: Outputs | None = None,
    dtype: str | None = None,
    search: Iterable[PathLike] = (),
    measured: PathLike | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[RunKeywords],
) -> Prepared:
    """Make every file that a recipe saves, in one pass over its inputs; whole at the end, or not at all.

    recipe: a TOML file, a `Recipe`, or a file that loralathe made: that one is made again from its record,
    the same bytes on the same machine and version, where `output` says.
    inputs, variables, blocks, output, dtype: win over what the recipe says.
    search: folders where a recorded recipe's inputs may be, beside its own and lora_dir, checkpoint_dir.
    measured: as for `merge`; a file that is made again keeps the numbers that it has.
    options, keywords: `RunOptions`, or its fields one by one.

    Raises InputError for the person's mistakes (a missing or malformed recipe, unknown names, a recipe that
    saves nothing), MachineError for a full disk or too little memory.
    """
    from loralathe.language import Recipe

    if not isinstance(recipe, Recipe) and _has_record(Path(recipe)) and not output:
        raise InputError(
            "a file is made again only where you say",
            where=str(recipe),
            fix=f"give {option('output', 'FILE')}",
        )
    settings = run_options(options, keywords, progress)
    places, folders = search_of(keywords), [Path(folder) for folder in search]
    found, settings = _opened(recipe, places.files(inputs), folders, places, settings, progress)
    found = found.with_variables(dict(variables or {}))
    found = replace(found, blocks={**found.blocks, **(blocks or {})})
    redirected = _redirected(found, output, dtype)
    if not isinstance(recipe, Recipe) and progress is not None:
        recipes.tell_far_outputs(Path(recipe), found, redirected, progress)
    return with_study(Prepared(redirected, settings, progress), measured)


def plan(
    recipe: PathLike | Recipe,
    inputs: Inputs | None = None,
    *,
    variables: Mapping[str, float] | None = None,
    blocks: Mapping[str, str] | None = None,
    output: Outputs | None = None,
    dtype: str | None = None,
    search: Iterable[PathLike] = (),
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[RunKeywords],
) -> Planned:
    """What `run` would do with the same arguments: every output, tensor by tensor, and every input's use.

    Only headers are read. Raises what `run` raises before the first tensor; outputs that exist are listed.
    """
    return run.prepare(
        recipe, inputs, variables=variables, blocks=blocks, output=output, dtype=dtype, search=search,
        options=options, progress=progress, **keywords,
    ).plan()  # fmt: skip


def recorded_recipe(
    path: PathLike, inputs: Inputs | None = None, **keywords: Unpack[SearchKeywords]
) -> Message:
    """The recipe that a file of ours records, as TOML to keep or to edit; `inputs` win over the recorded.

    A recipe file is given back as it is understood. Raises InputError for a file without a record.
    """
    from loralathe.engine import read_record
    from loralathe.language import read_recipe, recipe_text
    from loralathe.verification import record_as_toml

    file, places = Path(path), search_of(keywords)
    given = places.files(inputs)
    if _has_record(file):
        return record_as_toml(file, read_record(file), given)
    return Message(recipe_text(read_recipe(file, places.either).with_inputs(given)))


def _has_record(path: Path) -> bool:
    """Models are made again from their record; any other file is a recipe in TOML."""
    return path.suffix.casefold() == SUFFIX or is_folder_model(path)


def _opened(
    recipe: PathLike | Recipe,
    given: Mapping[str, Path],
    search: list[Path],
    places: Search,
    options: RunOptions,
    progress: Progress | None,
) -> tuple[Recipe, RunOptions]:
    from loralathe.language import Recipe, read_recipe

    if not isinstance(recipe, Recipe) and _has_record(Path(recipe)):
        from loralathe.verification import rebuild

        return rebuild(Path(recipe), None, given, [*search, *places.folders], options, progress)
    if search:
        raise InputError(
            "a recipe names its inputs' paths; only files with a record are searched for",
            fix=f"leave {option('search')} out, or name the inputs: NAME=FILE",
        )
    found = recipe if isinstance(recipe, Recipe) else read_recipe(Path(recipe), places.either)
    return found.with_inputs(given), options


def _redirected(recipe: Recipe, output: Outputs | None, dtype: str | None) -> Recipe:
    """Files and dtype that were given win over [save]."""
    steps = [save.step for save in recipe.saves]
    if not steps:
        raise InputError(
            "the recipe saves nothing",
            where=recipe.where,
            fix='add [save] with a line such as: B2 = { file = "B2.safetensors" }',
        )
    files = _files(output, steps)
    saves = tuple(
        replace(save, file=files.get(save.step, save.file), dtype=dtype or save.dtype)
        for save in recipe.saves
    )
    return replace(recipe, saves=saves)


def _files(output: Outputs | None, steps: list[str]) -> dict[str, Path]:
    if output is None:
        return {}
    choices = " or ".join(option("output", {name: "FILE"}) for name in steps)
    if isinstance(output, Mapping):
        for name, file in output.items():
            if name not in steps:
                raise InputError(
                    f"the recipe saves no step '{name}'",
                    where=option("output", {name: str(file)}),
                    fix=did_you_mean(name, steps) or f"write {choices}",
                )
        return {name: as_path(file, name) for name, file in output.items()}
    if len(steps) > 1:
        where = option("output", str(output))
        raise InputError("the recipe saves several steps", where=where, fix=f"write {choices}")
    return {steps[0]: as_path(output, "")}
