"""What an output remembers of its making: the recipe, its inputs, our version, and every choice that counts.

A record holds all that decides the bytes of the file, so that the file can be checked and made again
(`loralathe.verification`). No path, no date.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from loralathe.adapters.inherited import inherited
from loralathe.engine.options import RunOptions
from loralathe.errors import InputError, option, whole
from loralathe.progress import Progress
from loralathe.tensorfiles import MemoryPath, content_hash, read_header
from loralathe.version import __version__

if TYPE_CHECKING:
    from loralathe.engine.outputs import Output
    from loralathe.engine.session import Session
    from loralathe.language import Recipe, Save

KEY = "loralathe"
UNKNOWN_HASH = "0" * 64
CONVERTED = "result"
"""The step of a record that has no formula."""
IN_MEMORY = "in memory"
"""Stands where the hash of a file would."""
TITLE = "modelspec.title"

SAVE_CHOICES: Mapping[str, type] = {
    "dtype": str,
    "vae": str,
    "discard": str,
    "metadata": dict,
    "metadata_from": str,
    "adapter_metadata": str,
    "layout": str,
    "shard_size": str,
}
RUN_CHOICES: Mapping[str, type] = {"missing_blocks": int, "allow_unmatched": bool, "device": str}
"""Fields of `Save` and `RunOptions` that decide what is in a file; recorded where they are not the default.

Values are of the type that JSON gives back; a VAE is named as one of the record's inputs. A new field is one
entry here; a test asks it of every field.
"""


CONVERT_CHOICES: Mapping[str, type] = {"to": str, "family": str, "rank": int, "network": str}
"""Of a LoRA that was written under other names, which no formula says: the dialect, the family whose names it
has, the rank of what was baked, and the network whose folder of PEFT it is."""


def metadata_of(session: Session, output: Output, hashes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Metadata of an output file: what it inherits (a checkpoint from the first one), and its record.

    hashes: input name to SHA-256; zeros stand in their place until they are known.
    """
    from loralathe.engine.adapter_notes import adapter_notes
    from loralathe.engine.outputs import WeightsOutput

    kept = inherited(output.metadata if isinstance(output, WeightsOutput) else adapter_notes(session, output))
    record = json.dumps(write_record(session, output, hashes), ensure_ascii=False, separators=(",", ":"))
    found = {"format": "pt"} | kept | dict(output.save.metadata) | {KEY: record}
    if output.save.adapter_metadata == "minimal":
        found.pop(KEY)
    return found


def write_record(session: Session, output: Output, hashes: Mapping[str, str] | None) -> dict[str, object]:
    """The part of the recipe that made `output`, as plain data; hashes only where the options ask for it."""
    from loralathe.language import Save, render, used_names, value_names

    recipe, plan, run = session.recipe, session.plan, session.options
    places = {name: IN_MEMORY for name, path in plan.inputs.items() if isinstance(path, MemoryPath)}
    known = dict.fromkeys(plan.inputs, UNKNOWN_HASH) | places | dict(hashes or {})
    steps = recipe.steps.keys() & used_names(recipe, (output.save.step,))
    used = {name.id for step in steps for name in value_names(recipe.steps[step])}
    inputs = {
        name: {"file": whole(plan.inputs[name].name), "size": plan.sizes[name]}
        | ({"sha256": known[name]} if run.hash_inputs else {})
        | _stored(session, name)
        for name in [*recipe.inputs, *([output.vae] if output.vae else [])]
        if name in used or name == output.vae
    }
    chosen = _chosen(output.save, Save("", Path()), SAVE_CHOICES) | _chosen(run, RunOptions(), RUN_CHOICES)
    tables: dict[str, Mapping[str, object]] = {
        "variables": {name: value for name, value in recipe.variables.items() if name in used},
        "blocks": _used_lists(recipe, steps, {**run.presets, **recipe.blocks}),
        "options": chosen | ({"vae": output.vae} if output.vae else {}),
    }
    record: dict[str, object] = {
        "version": __version__,
        "save": output.save.step,
        "inputs": inputs,
        "steps": {step: render(recipe.steps[step]) for step in recipe.steps if step in steps},
    }
    return record | {name: table for name, table in tables.items() if table}


def conversion_record(
    inputs: Mapping[str, Path], choices: Mapping[str, object], *, hashes: bool, progress: Progress
) -> str:
    """What a LoRA that was written under other names remembers; choices: CONVERT_CHOICES, and `dtype`."""
    entries: dict[str, dict[str, object]] = {}
    for name, path in inputs.items():
        entries[name] = {"file": whole(path.name), "size": read_header(path).file_size}
        if isinstance(path, MemoryPath):
            entries[name] |= {"sha256": IN_MEMORY}
        elif hashes:
            entries[name] |= {"sha256": content_hash(path, progress=progress)}
    record = {
        "version": __version__,
        "save": CONVERTED,
        "inputs": entries,
        "steps": {CONVERTED: f"convert({', '.join(inputs)}, to='{choices['to']}')"},
        "options": {name: value for name, value in choices.items() if value is not None},
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _stored(session: Session, name: str) -> dict[str, object]:
    """What an input holds of quantised weights: kind → tensors."""
    from loralathe.engine.quantised import stored_kinds

    sources = session.sources
    file = sources.checkpoints[name].file if name in sources.checkpoints else sources.adapters[name].file
    found = stored_kinds(file)
    return {"stored": found} if found else {}


def _used_lists(recipe: Recipe, steps: set[str], known: Mapping[str, str]) -> dict[str, str]:
    """Block lists that the steps name, quoted or not, and those that these lists name in turn."""
    from loralathe.language import block_texts

    names = {text for step in steps for text in block_texts(recipe.steps[step])}
    names |= {known[name].strip() for name in names if name in known}
    return {name: text for name, text in known.items() if name in names}


def _chosen(choices: Save | RunOptions, default: object, names: Iterable[str]) -> dict[str, object]:
    """Name → value of the fields that are not at their default."""
    found = {item.name: getattr(choices, item.name) for item in fields(choices) if item.name in names}
    found = {name: value for name, value in found.items() if value != getattr(default, name)}
    if "device" in found:  # which of several it was has no influence
        found["device"] = found["device"].partition(":")[0]
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in found.items()}


def plain_record(metadata: Mapping[str, str]) -> dict[str, object] | None:
    """The record in a file's metadata as it stands there, None when it has none or it is damaged."""
    try:
        record = json.loads(metadata[KEY])
    except (KeyError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


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
    def is_conversion(self) -> bool:
        """Whether it is of a LoRA under other names."""
        return "to" in self.choices

    @property
    def has_hashes(self) -> bool:
        return all(given.sha256 is not None for given in self.inputs.values())

    def recipe(self, inputs: Mapping[str, Path], file: Path) -> Recipe:
        """The recipe, its inputs at the given paths and its one output in `file`.

        Raises InputError for formulas that this version does not read.
        """
        from loralathe.language import Save, functions, make_recipe

        if self.is_conversion:
            raise InputError(
                "a LoRA that was only written under other names has no recipe",
                where=self.where,
                fix=f"make it again with lathe convert and {option('to', str(self.choices['to']))}",
            )
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


def read_record(path: Path) -> Record:
    """The record of a file; InputError when it has none, when it is damaged, or when the file is."""
    return parse_record(read_header(path).metadata, path.name)


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
        _damaged(where, f"it is not JSON ({error})")
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
            _damaged(self.where, "the VAE is not one of its inputs")
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
            _damaged(self.where, f"{what} is not a table")
        return value

    def text(self, value: object, what: str) -> str:
        if not isinstance(value, str):
            _damaged(self.where, f"{what} is not text")
        return value

    def number(self, name: str, value: object) -> float:
        try:
            number = math.nan if isinstance(value, (bool, str)) else float(value)  # type: ignore[arg-type]
        except (OverflowError, TypeError):  # an integer beyond 1e308, a list
            number = math.nan
        if not math.isfinite(number):
            _damaged(self.where, f"the variable '{name}' is not a number")
        return number

    def input(self, name: str, value: object) -> RecordedInput:
        entry = self.table(value, f"the input '{name}'")
        size, digest = entry.get("size"), entry.get("sha256")
        if not (size is None or (isinstance(size, int) and size >= 0)):
            _damaged(self.where, f"the size of '{name}' is not a number of bytes")
        if not (digest is None or isinstance(digest, str)):
            _damaged(self.where, f"the hash of '{name}' is not text")
        if digest == IN_MEMORY:
            size = digest = None
        return RecordedInput(self.text(entry.get("file"), f"the file of '{name}'"), size, digest)

    def choice(self, name: str, value: object) -> object:
        kind = {**SAVE_CHOICES, **RUN_CHOICES, **CONVERT_CHOICES}.get(name)
        if kind is None:
            raise InputError(
                f"the record has a choice '{name}', which loralathe {__version__} does not know",
                where=self.where,
                fix=f"use loralathe {self.data.get('version')}, which wrote it",
            )
        if type(value) is not kind:
            _damaged(self.where, f"'{name}' is not of the type {kind.__name__}")
        return value
