"""What an output remembers of its making: the recipe, the inputs' names and hashes, our version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import loralathe

if TYPE_CHECKING:
    from loralathe.engine.options import RunOptions
    from loralathe.engine.plan import Output
    from loralathe.recipes import Recipe

KEY = "loralathe"
UNKNOWN_HASH = "0" * 64
STALE = ("modelspec.hash_sha256", "modelspec.date", "sshs_model_hash", "sshs_legacy_hash")
"""Metadata of the first input that would be false in the output."""


def make_record(
    recipe: Recipe,
    output: Output,
    run: RunOptions,
    hashes: Mapping[str, str] | None,
    files: Mapping[str, str],
) -> dict[str, object]:
    """The part of the recipe that made `output`, as plain data; no paths, no dates.

    hashes: input name to SHA-256, None to leave hashes out;  files: input name to file name.
    """
    from loralathe.recipes import render
    from loralathe.recipes.syntax import block_names, value_names

    steps = _needed(recipe, output.save.step)
    used = {name.id for step in steps for name in value_names(recipe.steps[step])}
    lists = {name.id for step in steps for name in block_names(recipe.steps[step])}
    inputs = {
        name: {"file": files[name]} | ({"sha256": hashes[name]} if hashes is not None else {})
        for name in recipe.inputs
        if name in used
    }
    record: dict[str, object] = {
        "version": loralathe.__version__,
        "save": output.save.step,
        "inputs": inputs,
        "steps": {step: render(recipe.steps[step]) for step in recipe.steps if step in steps},
    }
    variables = {name: value for name, value in recipe.variables.items() if name in used}
    known = {**run.presets, **recipe.blocks}
    blocks = {name: text for name, text in known.items() if name in lists}
    choices = {
        "dtype": output.save.dtype,
        "discard": output.save.discard,
        "missing_blocks": run.missing_blocks,
    }
    options = {key: value for key, value in choices.items() if value is not None}
    return record | {
        key: value
        for key, value in (("variables", variables), ("blocks", blocks), ("options", options))
        if value
    }


def _needed(recipe: Recipe, step: str) -> set[str]:
    from loralathe.recipes.syntax import value_names

    found: set[str] = set()
    waiting = [step]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [used.id for used in value_names(recipe.steps[name]) if used.id in recipe.steps]
    return found


def output_metadata(
    output: Output, record: Mapping[str, object], inherited: Mapping[str, str]
) -> dict[str, str]:
    """Metadata of an output file: what it inherits (a checkpoint from the first one), extended."""
    kept = dict(inherited)
    for key in STALE:
        kept.pop(key, None)
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return {"format": "pt"} | kept | {KEY: text} | dict(output.save.metadata)


def read_record(metadata: Mapping[str, str]) -> dict[str, object] | None:
    """The record in a file's metadata, None when it has none or it is damaged."""
    try:
        record = json.loads(metadata[KEY])
    except (KeyError, ValueError):
        return None
    return record if isinstance(record, dict) else None
