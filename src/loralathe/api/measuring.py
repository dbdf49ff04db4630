"""What pictures told, into the file that it was told of: numbers of a soup, and of a search."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import PathLike
from loralathe.api.prepared import Prepared
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from loralathe.engine import Measured, RunOptions
    from loralathe.language import Save
    from loralathe.progress import Progress

STUDY = "tune.json"


def with_study(prepared: Prepared, study: PathLike | None) -> Prepared:
    """The numbers of a search go into what is made of its recommendation. None: as it is.

    study: `tune.json`, or its folder. Raises InputError for a file that is none, for a search that measured
    nothing that could stand in a file, and where the recipe or an input is not what it measured.
    """
    if study is None:
        return prepared
    path = Path(study)
    path = path / STUDY if path.is_dir() else path
    measured = _read(path)
    hashes = _hashes(prepared)
    if measured.of not in hashes:
        raise InputError(
            "the search measured another recipe, or other files",
            where=f"{option('measured', str(study))}: {_formulas(prepared)}",
            fix=_reason(hashes),
        )
    return _into(prepared, measured, hashes)


def with_measured(prepared: Prepared, measured: Measured | None) -> Prepared:
    """Numbers that were measured of this very recipe; `of` is filled in. Where inputs have no hash, or the
    metadata is to be minimal, the file goes without them.
    """
    if measured is None:
        return prepared
    (found,) = _hashes(prepared)
    if found is None:
        return prepared
    return _into(prepared, replace(measured, of=found), [found])


def bound_to(
    measured: Measured, recipe: Path, step: str | None, options: RunOptions, progress: Progress | None
) -> Measured | None:
    """Numbers that were measured of a step of a recipe's file; None: of the only one that it saves.

    None where an input is not on this machine, or the step is not saved.
    """
    from loralathe.language import read_recipe

    found = read_recipe(recipe)
    if not all(path.exists() for path in found.inputs.values()):
        return None
    hashes = _hashes(Prepared(found, options, progress))
    by_step = dict(zip((save.step for save in found.saves), hashes, strict=True))
    wanted = step or (next(iter(by_step)) if len(by_step) == 1 else None)
    of = by_step.get(wanted) if wanted else None
    return None if of is None else replace(measured, of=of)


def _into(prepared: Prepared, measured: Measured, hashes: Sequence[str | None]) -> Prepared:
    from loralathe.engine.measured import ENTRY

    def filled(save: Save, found: str | None) -> Save:
        if found != measured.of or save.adapter_metadata == "minimal":
            return save
        return replace(save, metadata={**save.metadata, ENTRY: measured.text()})

    recipe = prepared.recipe
    saves = tuple(filled(save, found) for save, found in zip(recipe.saves, hashes, strict=True))
    return replace(prepared, recipe=replace(recipe, saves=saves))


def _hashes(prepared: Prepared) -> list[str | None]:
    """What each output's numbers would be bound to. Inputs are hashed, which is remembered."""
    from loralathe.engine import open_session, recipe_hash, write_record
    from loralathe.tensorfiles import MemoryPath, content_hash

    with open_session(prepared.recipe, prepared.options) as session:
        files = session.plan.inputs if prepared.options.hash_inputs else {}
        digests = {
            name: content_hash(path, progress=prepared.progress)
            for name, path in files.items()
            if not isinstance(path, MemoryPath)
        }
        records = {
            output.save.step: write_record(session, output, digests) for output in session.plan.outputs
        }
    return [recipe_hash(records[save.step]) for save in prepared.recipe.saves]


def _formulas(prepared: Prepared) -> str:
    return "; ".join(f"{name} = {text}" for name, text in prepared.formulas.items())


def _reason(hashes: Sequence[str | None]) -> str:
    if not any(hashes):
        return f"leave out {option('hash_inputs', False)}: files are told by their hashes"
    return (
        "use the command or the recipe that the search recommends, with the files that it drew with; "
        f"without {option('measured')} any recipe can be made"
    )


def _read(path: Path) -> Measured:
    from loralathe.engine import parse_measured
    from loralathe.tensorfiles import read_text

    where = os.fspath(path)
    try:
        data = json.loads(read_text(path, "JSON file"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            "this is not the report of a search", where=where, fix=f"give its {STUDY}"
        ) from error
    found = data.get("measured") if isinstance(data, dict) else None
    if found is None:
        raise InputError(
            "the search has no numbers that could stand in a file",
            where=where,
            fix="finish a search that recommends LoRAs or a recipe of files on this machine",
        )
    try:
        return parse_measured(found)
    except ValueError as error:
        raise InputError("the numbers of the search are damaged", where=where) from error
