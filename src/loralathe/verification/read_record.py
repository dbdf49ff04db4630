"""A record read back: what made a file, as typed data, and as the recipe that makes it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from loralathe.engine.options import RunOptions
from loralathe.engine.record import IN_MEMORY, KEY, RUN_CHOICES, SAVE_CHOICES
from loralathe.errors import InputError
from loralathe.language import Recipe, Save, functions, make_recipe
from loralathe.version import __version__

TITLE = "modelspec.title"


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """An input as it was: its file's name, bytes (None: not recorded), SHA-256 (None: not asked for)."""

    file: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Record:
    """How a file was made.

    version: of loralathe;  save: the step that the file is;  steps: name → formula;  title: an adapter's own.
    choices: fields of `Save` and `RunOptions` that were not at their default.
    """

    version: str
    save: str
    inputs: Mapping[str, RecordedInput]
    steps: Mapping[str, str]
    variables: Mapping[str, float]
    blocks: Mapping[str, str]
    choices: Mapping[str, object]
    title: str | None
    where: str

    @property
    def is_ours(self) -> bool:
        """Whether this version of loralathe made it, and so would make it again."""
        return self.version == __version__

    @property
    def has_hashes(self) -> bool:
        return all(given.sha256 is not None for given in self.inputs.values())

    def recipe(self, inputs: Mapping[str, Path], file: Path) -> Recipe:
        """The recipe, its inputs at the given paths and its one output in `file`.

        Raises InputError for formulas that this version does not read.
        """
        chosen: dict[str, Any] = {name: value for name, value in self.choices.items() if name in SAVE_CHOICES}
        vae = chosen.pop("vae", None)
        save = Save(self.save, file, title=self.title, vae=None if vae is None else inputs[vae])
        taken = {*functions(), *self.inputs, *self.variables, *self.steps}
        lists = {
            name: text for name, text in self.blocks.items() if name.isidentifier() and name not in taken
        }
        return make_recipe(
            inputs={name: inputs[name] for name in self.inputs if name != vae},
            steps=self.steps,
            variables=self.variables,
            blocks=lists,
            saves=[replace(save, **chosen)],
            where=self.where,
        )

    def options(self, options: RunOptions) -> RunOptions:
        """`options` with all that decides what is in the file as it was then."""
        chosen: dict[str, Any] = {name: RunOptions.__dataclass_fields__[name].default for name in RUN_CHOICES}
        chosen |= {name: value for name, value in self.choices.items() if name in RUN_CHOICES}
        return replace(options, **chosen, presets=self.blocks, hash_inputs=self.has_hashes)


def parse_record(metadata: Mapping[str, str], where: str) -> Record:
    """The record in a file's metadata; `where` names the file.

    Raises InputError when there is none, when it is damaged, and when a newer version wrote it.
    """
    if KEY not in metadata:
        raise InputError(
            "the file has no record of how it was made",
            where=where,
            fix="only files that loralathe wrote carry one; lathe inspect shows what this one is",
        )
    try:
        data = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        _damaged(where, f"it is no JSON ({error})")
    return _Reader(data, f"the record of {where}", where).record(metadata.get(TITLE))


def _damaged(where: str, why: str) -> NoReturn:
    raise InputError(
        f"the record of how the file was made is damaged: {why}",
        where=where,
        fix="get the file again; if its tensors are sound, it still works as a model",
    )


class _Reader:
    """Checks plain data of unknown origin field by field."""

    def __init__(self, data: object, name: str, where: str) -> None:
        self.name = name
        self.where = where
        self.data = self.table(data, "the record")

    def record(self, title: str | None) -> Record:
        inputs = {name: self.input(name, value) for name, value in self.entries("inputs").items()}
        steps = {name: self.text(value, f"step '{name}'") for name, value in self.entries("steps").items()}
        save = self.text(self.data.get("save"), "'save'")
        if save not in steps:
            _damaged(self.where, f"there is no step '{save}'")
        choices = {name: self.choice(name, value) for name, value in self.entries("options").items()}
        if choices.get("vae") not in {None, *inputs}:
            _damaged(self.where, "the VAE is none of its inputs")
        return Record(
            version=self.text(self.data.get("version"), "'version'"),
            save=save,
            inputs=inputs,
            steps=steps,
            variables={name: self.number(name, value) for name, value in self.entries("variables").items()},
            blocks={name: self.text(value, f"'{name}'") for name, value in self.entries("blocks").items()},
            choices=choices,
            title=title,
            where=self.name,
        )

    def entries(self, name: str) -> dict[str, object]:
        return self.table(self.data.get(name, {}), f"'{name}'")

    def table(self, value: object, what: str) -> dict[str, object]:
        if not isinstance(value, dict):
            _damaged(self.where, f"{what} is no table")
        return value

    def text(self, value: object, what: str) -> str:
        if not isinstance(value, str):
            _damaged(self.where, f"{what} is no text")
        return value

    def number(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            _damaged(self.where, f"the variable '{name}' is no number")
        return float(value)

    def input(self, name: str, value: object) -> RecordedInput:
        entry = self.table(value, f"the input '{name}'")
        size, digest = entry.get("size"), entry.get("sha256")
        if not (size is None or (isinstance(size, int) and size >= 0)):
            _damaged(self.where, f"the size of '{name}' is no number of bytes")
        if not (digest is None or isinstance(digest, str)):
            _damaged(self.where, f"the hash of '{name}' is no text")
        if digest == IN_MEMORY:
            size = digest = None
        return RecordedInput(self.text(entry.get("file"), f"the file of '{name}'"), size, digest)

    def choice(self, name: str, value: object) -> object:
        kind = {**SAVE_CHOICES, **RUN_CHOICES}.get(name)
        if kind is None:
            raise InputError(
                f"the record has a choice '{name}', which loralathe {__version__} does not know",
                where=self.where,
                fix=f"use loralathe {self.data.get('version')}, which wrote it",
            )
        if type(value) is not kind:
            _damaged(self.where, f"'{name}' is no {kind.__name__}")
        return value
