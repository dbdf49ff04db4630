"""What pictures told, into the file that it was told of: numbers of a soup, of a search, of a grid."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loralathe.api.arguments import PathLike
from loralathe.api.prepared import Prepared
from loralathe.api.recipes import merge_recipe
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from loralathe.engine import Measured, RunOptions
    from loralathe.language import Save
    from loralathe.progress import Progress
    from loralathe.studies.measured import MeasuredCell

SEARCH, GRID = "tune.json", "results.json"
LARGEST = 64 << 20
"""Bytes of a report that is read: a grid of thousands of cells has some."""


def with_study(prepared: Prepared, study: PathLike | None) -> Prepared:
    """The numbers of a search go into what is made of its recommendation, those of a grid into what one of
    its cells shows. None: as it is.

    study: `tune.json` of a search, `results.json` of a grid with a card, or the folder. Raises InputError for
    a file that is neither, for one that measured nothing that could stand in a file, and where the recipe or
    an input is not what was measured.
    """
    if study is None:
        return prepared
    path = Path(study)
    if path.is_dir():
        path = path / (SEARCH if (path / SEARCH).exists() else GRID)
    data, hashes = _read(path), _hashes(prepared)
    found = [_of_search(data, path)] if "candidates" in data else _of_grid(data, path, prepared)
    fitting = [one for one in found if one.of in hashes]
    if not fitting:
        raise InputError(
            "another recipe was measured there, or other files",
            where=f"{option('measured', str(study))}: {_formulas(prepared)}",
            fix=_reason(hashes),
        )
    return _into(prepared, max(fitting, key=lambda one: one.numbers[0].pictures), hashes)


def _of_grid(data: Mapping[str, Any], path: Path, prepared: Prepared) -> list[Measured]:
    """Cells that are drawn of the files of this merge, each bound to its own recipe."""
    from loralathe.studies.measured import measured_cells

    if data.get("card") is None:
        raise InputError(
            "the grid measured no likeness",
            where=os.fspath(path),
            fix=f"draw it with {option('card', 'hina.card')}, and several seeds: finished pictures stay",
        )
    names = {place.name for place in prepared.recipe.inputs.values()}
    try:
        cells = [
            cell
            for cell in measured_cells(data)
            if {Path(cell.request.checkpoint).name, *(use.path.name for use in cell.uses)} == names
        ]
    except ValueError as error:
        raise _no_study(path) from error
    return [replace(cell.measured, of=found) for cell in cells if (found := _of_cell(cell, prepared))]


def _of_cell(cell: MeasuredCell, prepared: Prepared) -> str | None:
    """What a merge of the cell's LoRAs would be bound to; block lists by name are those of this merge."""
    if not cell.uses:
        return None
    recipe = merge_recipe(
        Path(cell.request.checkpoint), cell.uses, prepared.recipe.blocks, prepared.recipe.saves[0].file
    )
    return _hashes(replace(prepared, recipe=recipe))[0]


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
        "use the command or the recipe that is shown there, with the files that were drawn with; "
        f"without {option('measured')} any recipe can be made"
    )


def _read(path: Path) -> Mapping[str, Any]:
    from loralathe.tensorfiles import read_text

    try:
        data = json.loads(read_text(path, "JSON file", LARGEST))
    except (ValueError, RecursionError) as error:
        raise _no_study(path) from error
    if not isinstance(data, dict) or not {"candidates", "cells"} & data.keys():
        raise _no_study(path)
    return data


def _no_study(path: Path) -> InputError:
    return InputError(
        "this is no report of a search or a grid",
        where=os.fspath(path),
        fix=f"give its folder, {SEARCH} or {GRID}",
    )


def _of_search(data: Mapping[str, Any], path: Path) -> Measured:
    from loralathe.engine import parse_measured

    if data.get("measured") is None:
        raise InputError(
            "the search has no numbers that could stand in a file",
            where=os.fspath(path),
            fix="finish a search that recommends LoRAs or a recipe of files on this machine",
        )
    try:
        return parse_measured(data["measured"])
    except ValueError as error:
        raise _no_study(path) from error
