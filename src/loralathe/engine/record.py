"""What an output remembers of its making: the recipe, its inputs, our version, and every choice that counts.

A record holds all that decides the bytes of the file, so that the file can be made again (`engine.rerun`)
and checked (`engine.verify`). No path, no date.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING

from loralathe.version import __version__

if TYPE_CHECKING:
    from loralathe.engine.options import RunOptions
    from loralathe.engine.plan import Output
    from loralathe.engine.session import Session
    from loralathe.language import Recipe, Save

KEY = "loralathe"
UNKNOWN_HASH = "0" * 64
IN_MEMORY = "in memory"
"""Stands where the hash of a file would."""
STALE = ("modelspec.hash_sha256", "modelspec.date", "sshs_model_hash", "sshs_legacy_hash")
"""Metadata of the first input that would be false in the output."""

SAVE_CHOICES: Mapping[str, type] = {
    "dtype": str,
    "vae": str,
    "discard": str,
    "metadata": dict,
    "metadata_from": str,
    "adapter_metadata": str,
}
RUN_CHOICES: Mapping[str, type] = {"missing_blocks": int, "allow_unmatched": bool, "device": str}
"""Fields of `Save` and `RunOptions` that decide what is in a file; recorded where they are not the default.

Values are of the type that JSON gives back; a VAE is named as one of the record's inputs. A new field is one
entry here; a test asks it of every field.
"""


def metadata_of(session: Session, output: Output, hashes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Metadata of an output file: what it inherits (a checkpoint from the first one), and its record.

    hashes: input name to SHA-256; zeros stand in their place until they are known.
    """
    from loralathe.engine.adapter_notes import adapter_notes
    from loralathe.engine.plan import WeightsOutput

    inherited = output.metadata if isinstance(output, WeightsOutput) else adapter_notes(session, output)
    kept = {key: text for key, text in inherited.items() if key not in STALE}
    record = json.dumps(write_record(session, output, hashes), ensure_ascii=False, separators=(",", ":"))
    found = {"format": "pt"} | kept | dict(output.save.metadata) | {KEY: record}
    if output.save.adapter_metadata == "minimal":
        found.pop(KEY)
    return found


def write_record(session: Session, output: Output, hashes: Mapping[str, str] | None) -> dict[str, object]:
    """The part of the recipe that made `output`, as plain data; hashes only where the options ask for it."""
    from loralathe.language import render, value_names
    from loralathe.tensorfiles import MemoryPath

    recipe, plan, run = session.recipe, session.plan, session.options
    places = {name: IN_MEMORY for name, path in plan.inputs.items() if isinstance(path, MemoryPath)}
    known = dict.fromkeys(plan.inputs, UNKNOWN_HASH) | places | dict(hashes or {})
    steps = _needed(recipe, output.save.step)
    used = {name.id for step in steps for name in value_names(recipe.steps[step])}
    inputs = {
        name: {"file": plan.inputs[name].name, "size": plan.sizes[name]}
        | ({"sha256": known[name]} if run.hash_inputs else {})
        for name in [*recipe.inputs, *([output.vae] if output.vae else [])]
        if name in used or name == output.vae
    }
    tables: dict[str, Mapping[str, object]] = {
        "variables": {name: value for name, value in recipe.variables.items() if name in used},
        "blocks": _used_lists(recipe, steps, {**run.presets, **recipe.blocks}),
        "options": dict([*_chosen(output.save, SAVE_CHOICES), *_chosen(run, RUN_CHOICES)])
        | ({"vae": output.vae} if output.vae else {}),
    }
    record: dict[str, object] = {
        "version": __version__,
        "save": output.save.step,
        "inputs": inputs,
        "steps": {step: render(recipe.steps[step]) for step in recipe.steps if step in steps},
    }
    return record | {name: table for name, table in tables.items() if table}


def _needed(recipe: Recipe, step: str) -> set[str]:
    from loralathe.language import value_names

    found: set[str] = set()
    waiting = [step]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [used.id for used in value_names(recipe.steps[name]) if used.id in recipe.steps]
    return found


def _used_lists(recipe: Recipe, steps: set[str], known: Mapping[str, str]) -> dict[str, str]:
    """Block lists that the steps name, quoted or not, and those that these lists name in turn."""
    from loralathe.language import block_texts

    names = {text for step in steps for text in block_texts(recipe.steps[step])}
    names |= {known[name].strip() for name in names if name in known}
    return {name: text for name, text in known.items() if name in names}


def _chosen(choices: Save | RunOptions, names: Iterable[str]) -> Iterator[tuple[str, object]]:
    """(name, value) of the fields that are not at their default."""
    for item in fields(choices):
        value = getattr(choices, item.name)
        if item.name in names and value != _default(item):
            # Which of several devices it was has no influence.
            plain = value.partition(":")[0] if item.name == "device" else value
            yield item.name, dict(plain) if isinstance(plain, Mapping) else plain


def _default(item: Field[object]) -> object:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def read_record(metadata: Mapping[str, str]) -> dict[str, object] | None:
    """The record in a file's metadata, None when it has none or it is damaged."""
    try:
        record = json.loads(metadata[KEY])
    except (KeyError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
