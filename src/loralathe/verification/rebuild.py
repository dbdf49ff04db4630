"""A file from its own record: the recipe that made it, its inputs found, ready to run or to be checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from loralathe.engine.options import RunOptions, check_device
from loralathe.engine.record import RUN_CHOICES
from loralathe.errors import InputError, Message, Value, option, printable
from loralathe.language import Recipe, recipe_text
from loralathe.progress import Progress
from loralathe.tensorfiles import read_header
from loralathe.verification.find_inputs import find_inputs
from loralathe.verification.read_record import Record, parse_record


def record_of(path: Path) -> Record:
    """The record of a file; InputError when it has none, when it is damaged, or when the file is."""
    return parse_record(read_header(path).metadata, path.name)


def remake(
    path: Path,
    output: Path | None = None,
    given: Mapping[str, Path] | None = None,
    search: Sequence[Path] = (),
    options: RunOptions | None = None,
    progress: Progress | None = None,
) -> tuple[Recipe, RunOptions]:
    """The recipe and the options that make the file again; on the same machine and version, byte for byte.

    output: where, None for the same place (which needs `force`);  given, search: see `find_inputs`.
    options: how to run; what decides the bytes comes from the record, unless it is not the default here.
    """
    options = options or RunOptions()
    record = record_of(path)
    recipe = record.recipe(find_inputs(record, path, given, search, progress), output or path)
    default = RunOptions()
    insisted = {
        name: getattr(options, name)
        for name in (*RUN_CHOICES, "hash_inputs")
        if getattr(options, name) != getattr(default, name)
    }
    recorded = record.options(options)
    if "device" not in insisted:
        recorded = replace(recorded, device=device_here(recorded.device, progress or Progress()))
    return recipe, replace(recorded, **insisted, presets={**recorded.presets, **options.presets})


def device_here(recorded: str, progress: Progress) -> str:
    """The device that a file was made with, or `cpu` with a message where this machine has none such."""
    try:
        check_device(recorded)
    except InputError:
        progress.message(
            f"the file was made with {option('device', printable(recorded))}, which is not here: "
            "decomposed on the processor, factors differ in their last digits"
        )
        return "cpu"
    return recorded


def recorded_toml(path: Path, record: Record, given: Mapping[str, Path] | None = None) -> Message:
    """The recorded recipe as TOML, to be kept or edited; inputs under the names they had, unless `given`."""
    files = {name: Path(entry.file) for name, entry in record.inputs.items()} | dict(given or {})
    recipe = record.recipe(files, Path(path.name))
    lines = [f"made by loralathe {record.version} as {path.name}"]
    choices = " ".join(_choices(record, recipe))
    return Message(recipe_text(recipe, [*lines, f"run it with: {choices}"] if choices else lines))


def _choices(record: Record, recipe: Recipe) -> list[str]:
    """Options that a recipe file cannot hold."""
    chosen = cast(Mapping[str, Value], record.choices)
    choices = [option(name, value) for name, value in chosen.items() if name in RUN_CHOICES]
    rest = {name: text for name, text in record.blocks.items() if name not in recipe.blocks}
    return choices + [option("blocks", {name: text}) for name, text in rest.items()]
