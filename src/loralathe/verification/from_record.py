"""A file from its own record: its inputs found by their content, the recipe ready to run or to be checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import cast

from loralathe.engine import RUN_CHOICES, Record, RecordedInput, RunOptions, check_device, read_record
from loralathe.errors import InputError, Message, Value, did_you_mean, option, printable
from loralathe.language import Recipe, recipe_text
from loralathe.progress import Progress
from loralathe.tensorfiles import MODEL_SUFFIXES, content_hash, holds_model, model_files, name_key

SHOWN = 12
"""Hex digits of a hash that errors show."""


def rebuild(
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
    record = read_record(path)
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


def record_as_toml(path: Path, record: Record, given: Mapping[str, Path] | None = None) -> Message:
    """The recorded recipe as TOML, to be kept or edited; inputs under the names they had, unless `given`.

    A record comes from anybody: only names of its files are kept, so that nothing is read elsewhere.
    """
    files = {name: Path(_file_name(entry) or name) for name, entry in record.inputs.items()}
    files |= dict(given or {})
    recipe = record.recipe(files, Path(path.name))
    lines = [f"made by loralathe {record.version} as {path.name}"]
    choices = " ".join(_choices(record, recipe))
    return Message(recipe_text(recipe, [*lines, f"run it with: {choices}"] if choices else lines))


def _file_name(entry: RecordedInput) -> str:
    """Without folders and drives, as Windows spells them too; empty where nothing else is there."""
    return PureWindowsPath(entry.file).name.strip(". ")


def _choices(record: Record, recipe: Recipe) -> list[str]:
    """Options that a recipe file cannot hold."""
    chosen = cast(Mapping[str, Value], record.choices)
    choices = [option(name, value) for name, value in chosen.items() if name in RUN_CHOICES]
    rest = {name: text for name, text in record.blocks.items() if name not in recipe.blocks}
    return choices + [option("blocks", {name: text}) for name, text in rest.items()]


def find_inputs(
    record: Record,
    made: Path,
    given: Mapping[str, Path] | None = None,
    search: Sequence[Path] = (),
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Input name to file, for every input of the record.

    made: the file with the record, in whose folder inputs are looked for;  given: files named by the person;
    search: further folders, all that is in them included. A file counts when its SHA-256 is the recorded one;
    those of the recorded name are tried first, then those of the recorded size. Without recorded hashes the
    name decides, and the size where it is known.

    Raises InputError for a given file with other content, for a name that the record does not have, and for
    inputs that are nowhere.
    """
    finder = _Finder(record, made, progress or Progress())
    given = given or {}
    for name in given:
        if name not in record.inputs:
            raise InputError(
                f"the recipe has no input '{name}'",
                where=record.where,
                fix=did_you_mean(name, record.inputs) or f"it has: {', '.join(record.inputs)}",
            )
    found = {name: finder.checked(name, path) for name, path in given.items()}
    files = [*_models(made.parent), *(path for folder in search for path in _models_below(folder))]
    for name in record.inputs:
        if name not in found:
            path = finder.look(name, files)
            if path is not None:
                found[name] = path
    missing = [name for name in record.inputs if name not in found]
    if missing:
        raise finder.not_found(missing, [made.parent, *search])
    return found


class _Finder:
    """Compares files with recorded inputs; remembers what had the right name and other content."""

    def __init__(self, record: Record, made: Path, progress: Progress) -> None:
        self.record = record
        self.made = made
        self.progress = progress
        self.changed: dict[str, Path] = {}

    def hash(self, path: Path) -> str:
        return content_hash(path, cache=False, progress=self.progress)

    def checked(self, name: str, path: Path) -> Path:
        """A file that the person gave; InputError when it is another one than the recorded."""
        wanted = self.record.inputs[name]
        digest = self.hash(path)
        if wanted.sha256 is None or digest == wanted.sha256:
            return path
        other = next((key for key, value in self.record.inputs.items() if value.sha256 == digest), None)
        raise InputError(
            f"'{name}' is another file than the one that was used",
            where=f"{path} has the SHA-256 {digest[:SHOWN]}…, "
            f"{self.record.where} wants {wanted.file} with {wanted.sha256[:SHOWN]}…",
            fix=f"this file is '{other}' of the recipe; were two swapped?"
            if other
            else f"give the file that was used: {name}=FILE",
        )

    def look(self, name: str, files: Sequence[Path]) -> Path | None:
        wanted = self.record.inputs[name]
        for path in sorted(files, key=lambda path: path.name != wanted.file):
            if self._may_be(path, wanted) and (wanted.sha256 is None or self.hash(path) == wanted.sha256):
                return path
            if name_key(path.name) == name_key(wanted.file):
                self.changed.setdefault(name, path)
        return None

    def _may_be(self, path: Path, wanted: RecordedInput) -> bool:
        if name_key(path.name) != name_key(wanted.file) and wanted.sha256 is None:
            return False
        try:
            size = sum(file.stat().st_size for file in model_files(path))
        except (OSError, InputError):
            return False
        return wanted.size in (None, size) and not os.path.samefile(path, self.made)

    def not_found(self, missing: Sequence[str], folders: Sequence[Path]) -> InputError:
        lines = []
        for name in missing:
            wanted = self.record.inputs[name]
            digest = f", SHA-256 {wanted.sha256[:SHOWN]}…" if wanted.sha256 else ""
            other = self.changed.get(name)
            changed = f"; {other} has other content" if other else ""
            lines.append(f"{name} = {wanted.file}{digest}{changed}")
        places = ", ".join(str(folder) for folder in folders)
        return InputError(
            f"{len(missing)} of the recipe's {len(self.record.inputs)} inputs "
            f"{'is' if len(missing) == 1 else 'are'} not in {places}",
            where="; ".join(lines),
            fix=f"name the file, {missing[0]}=FILE, or a folder to search: {option('search', 'FOLDER')}",
        )


def _models(folder: Path) -> Iterator[Path]:
    """Models of a folder, by name, those that are folders last; none where it cannot be read."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    is_file = [entry.is_file() for entry in entries]
    yield from (
        folder / one.name
        for one, file in zip(entries, is_file, strict=True)
        if file and one.name.casefold().endswith(MODEL_SUFFIXES)
    )
    inside = (folder / one.name for one, file in zip(entries, is_file, strict=True) if not file)
    yield from (place for place in inside if holds_model(place))


def _models_below(folder: Path) -> Iterator[Path]:
    """Model files of a folder and of those inside it; InputError when there is no such folder."""
    if not folder.is_dir():
        raise InputError(
            "there is no such folder to search", where=str(folder), fix=f"check {option('search')}"
        )
    for place, folders, _ in os.walk(folder):
        folders.sort()
        yield from _models(Path(place))
