"""Recipes: run one, look at its plan, make a file again from its record, evaluate a formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.keywords import Inputs, PathLike, RunKeywords, paths, run_options
from loralathe.errors import InputError, did_you_mean, option

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.engine import InputUse, Plan, Report, RunOptions
    from loralathe.language import Recipe
    from loralathe.progress import Progress

RECORDED = ".safetensors"
"""Files of this suffix are made again from their record; any other is a recipe in TOML."""

Outputs = PathLike | Mapping[str, PathLike]
"""A file, where one step is saved, or files by the names of the steps."""


@dataclass(frozen=True)
class Prepared:
    """A recipe ready to run, and how."""

    recipe: Recipe
    options: RunOptions


@dataclass(frozen=True)
class Planned:
    """What a run would do, from headers alone. reads: how much of each input."""

    plan: Plan
    reads: tuple[InputUse, ...]


def prepare(
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
) -> Prepared:
    """The recipe that `run` would run, with all that is given on top of it; see there.

    Raises InputError for a missing or malformed recipe, unknown names, and a recipe that saves nothing.
    """
    given = paths(inputs)
    found, settings = _opened(recipe, given, [Path(folder) for folder in search], options, progress)
    found = found.with_variables(dict(variables or {}))
    found = replace(found, blocks={**found.blocks, **(blocks or {})})
    return Prepared(_redirected(found, output, dtype), settings)


def _opened(
    recipe: PathLike | Recipe,
    given: Mapping[str, Path],
    search: list[Path],
    options: RunOptions | None,
    progress: Progress | None,
) -> tuple[Recipe, RunOptions]:
    from loralathe.language import Recipe, read_recipe

    if not isinstance(recipe, Recipe) and Path(recipe).suffix.casefold() == RECORDED:
        from loralathe.verification import rebuild

        return rebuild(Path(recipe), None, given, search, options, progress)
    if search:
        raise InputError(
            "a recipe names its inputs' paths; only files with a record are searched for",
            fix=f"leave {option('search')} out, or name the inputs: NAME=FILE",
        )
    found = recipe if isinstance(recipe, Recipe) else read_recipe(Path(recipe))
    return found.with_inputs(given), run_options(options, {})


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
    if isinstance(output, Mapping):
        for name in output:
            if name not in steps:
                raise InputError(
                    f"the recipe saves no step '{name}'",
                    fix=did_you_mean(name, steps) or f"it saves: {', '.join(steps)}",
                )
        return paths(output)
    if len(steps) > 1:
        choices = " or ".join(option("output", {name: "FILE"}) for name in steps)
        raise InputError(
            "the recipe saves several steps", where=option("output", str(output)), fix=f"write {choices}"
        )
    return {steps[0]: Path(output)}


def run(
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
) -> Report:
    """Make every file that a recipe saves, in one pass over its inputs; whole at the end, or not at all.

    recipe: a TOML file, a `Recipe`, or a file that loralathe made: that one is made again from its record,
    the same bytes on the same machine and version (give `output`, or `force=True` to replace it).
    inputs, variables, blocks, output, dtype: win over what the recipe says.
    search: folders where a recorded recipe's inputs may be, beside its own.
    options, keywords: `RunOptions`, or its fields one by one.

    Raises InputError for the person's mistakes, MachineError for a full disk or too little memory.
    """
    from loralathe.engine import run_recipe

    prepared = prepare(
        recipe, inputs, variables=variables, blocks=blocks, output=output, dtype=dtype, search=search,
        options=run_options(options, keywords), progress=progress,
    )  # fmt: skip
    return run_recipe(prepared.recipe, prepared.options, progress)


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

    Only headers are read. Raises what `run` raises before the first tensor.
    """
    from loralathe.engine import check_outputs, input_uses, open_session

    prepared = prepare(
        recipe, inputs, variables=variables, blocks=blocks, output=output, dtype=dtype, search=search,
        options=run_options(options, keywords), progress=progress,
    )  # fmt: skip
    with open_session(prepared.recipe, prepared.options) as session:
        check_outputs(session)
        return Planned(session.plan, tuple(input_uses(session)))


def recorded_recipe(path: PathLike, inputs: Inputs | None = None) -> str:
    """The recipe that a file of ours records, as TOML to keep or to edit; `inputs` win over the recorded.

    A recipe file is given back as it is understood. Raises InputError for a file without a record.
    """
    from loralathe.engine import read_record
    from loralathe.language import read_recipe, recipe_text
    from loralathe.verification import record_as_toml

    file = Path(path)
    if file.suffix.casefold() == RECORDED:
        return record_as_toml(file, read_record(file), paths(inputs))
    return recipe_text(read_recipe(file).with_inputs(paths(inputs)))
