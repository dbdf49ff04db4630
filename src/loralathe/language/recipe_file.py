"""A recipe as a TOML file: read, and written so that it can be read again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from loralathe.adapters import ModelFolders
from loralathe.errors import InputError, did_you_mean, printable, whole
from loralathe.language.recipe import ORIGINAL, SHARD_SIZE, Recipe, Save, listing, make_recipe
from loralathe.language.toml_file import read_toml, toml_key, toml_text

TABLES = ("inputs", "variables", "blocks", "steps", "save")
SAVE_TEXTS = (
    "dtype", "vae", "discard", "metadata_from", "config_from", "adapter_metadata", "layout", "shard_size",
    "like",
)  # fmt: skip
SAVE_KEYS = ("file", "metadata", *SAVE_TEXTS)


def read_recipe(path: Path, folders: ModelFolders | None = None) -> Recipe:
    """Read a TOML recipe; paths in it are relative to its folder, or else names in the folders.

    Raises InputError for a missing or malformed file, unknown tables or keys, and whatever
    `make_recipe` refuses.
    """
    return _from_table(read_toml(path, "recipe"), path, folders or ModelFolders())


def _from_table(data: Mapping[str, object], path: Path, folders: ModelFolders) -> Recipe:
    where = path.name
    for table in data:
        if table not in TABLES:
            raise InputError(
                f"the recipe has an unknown table [{table}]",
                where=where,
                fix=did_you_mean(table, TABLES) or f"tables are: {listing(TABLES)}",
            )
    folder = path.parent
    inputs = {
        name: folders.place(folder / text, text) for name, text in _texts(data, "inputs", where).items()
    }
    saves = tuple(_save(name, entry, folder, where) for name, entry in _table(data, "save", where).items())
    return make_recipe(
        inputs=inputs,
        steps=_texts(data, "steps", where),
        variables=_numbers(data, where),
        blocks=_texts(data, "blocks", where),
        saves=saves,
        where=where,
    )


def _table(data: Mapping[str, object], name: str, where: str) -> Mapping[str, object]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise InputError(f"'{name}' must be a table", where=where, fix=f"write [{name}] on a line of its own")
    return table


def _texts(data: Mapping[str, object], name: str, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in _table(data, name, where).items():
        if not isinstance(value, str):
            raise InputError(f"'{key}' must be a quoted text", where=f"{where}, [{name}]")
        found[key] = value
    return found


def _numbers(data: Mapping[str, object], where: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in _table(data, "variables", where).items():
        number = _finite(value)
        if number is None:
            raise InputError(f"'{key}' must be a number", where=f"{where}, [variables]", fix=f"{key} = 0.7")
        found[key] = number
    return found


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond 1e308
        return None
    return number if math.isfinite(number) else None


def _save(step: str, entry: object, folder: Path, where: str) -> Save:
    place = f"{where}, [save], '{step}'"
    if isinstance(entry, str):
        return Save(step, folder / entry)
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise InputError(
            "a saved step needs a file", where=place, fix=f'{step} = {{ file = "{step}.safetensors" }}'
        )
    for key in entry:
        if key not in SAVE_KEYS:
            raise InputError(
                f"a saved step has no option '{key}'",
                where=place,
                fix=did_you_mean(key, SAVE_KEYS) or f"options: {listing(SAVE_KEYS)}",
            )
    for key in SAVE_TEXTS:
        if not isinstance(entry.get(key, ""), str):
            raise InputError(f"'{key}' must be a quoted text", where=place)
    metadata = entry.get("metadata", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InputError("'metadata' must be a table of quoted texts", where=place)
    return Save(
        step,
        folder / entry["file"],
        entry.get("dtype"),
        entry.get("discard"),
        dict(metadata),
        vae=folder / entry["vae"] if "vae" in entry else None,
        metadata_from=entry.get("metadata_from", "first"),
        config_from=entry.get("config_from", "any"),
        adapter_metadata=entry.get("adapter_metadata", "new"),
        layout=entry.get("layout", ORIGINAL),
        shard_size=entry.get("shard_size", SHARD_SIZE),
        like=folder / entry["like"] if "like" in entry else None,
    )


def recipe_text(recipe: Recipe, comments: Iterable[str] = ()) -> str:
    """The recipe as TOML; paths are written as they are. `comments` become lines at its head."""
    tables: dict[str, Mapping[str, str]] = {
        "inputs": {name: toml_text(str(path)) for name, path in recipe.inputs.items()},
        "variables": {name: repr(value).removesuffix(".0") for name, value in recipe.variables.items()},
        "blocks": {name: toml_text(text) for name, text in recipe.blocks.items()},
        "steps": {name: toml_text(text) for name, text in recipe.texts.items()},
        "save": {save.step: _inline(_save_entries(save)) for save in recipe.saves},
    }
    head = [f"# {printable(whole(' '.join(line.split())))}" for line in comments]
    parts = ["\n".join(head)] if head else []
    parts += ["\n".join(_lines(name, entries)) for name, entries in tables.items() if entries]
    return "\n\n".join(parts) + "\n"


def _lines(name: str, entries: Mapping[str, str]) -> Iterator[str]:
    yield f"[{name}]"
    keys = {key: toml_key(key) for key in entries}
    width = max(map(len, keys.values()))
    for key, value in entries.items():
        yield f"{keys[key]:<{width}} = {value}"


def _save_entries(save: Save) -> Iterator[tuple[str, str]]:
    yield "file", toml_text(str(save.file))
    usual = Save(save.step, save.file)
    for name in SAVE_TEXTS:
        value = getattr(save, name)
        if value != getattr(usual, name):
            yield name, toml_text(str(value))
    if save.metadata:
        yield "metadata", _inline((key, toml_text(value)) for key, value in save.metadata.items())


def _inline(entries: Iterable[tuple[str, str]]) -> str:
    return "{ " + ", ".join(f"{toml_key(key)} = {value}" for key, value in entries) + " }"
