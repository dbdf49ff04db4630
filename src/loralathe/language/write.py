"""A recipe as TOML text, which `read_recipe` reads again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from loralathe.language.document import Recipe, Save

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def recipe_text(recipe: Recipe, comments: Iterable[str] = ()) -> str:
    """The recipe as TOML; paths are written as they are. `comments` become lines at its head."""
    tables: dict[str, Mapping[str, str]] = {
        "inputs": {name: _text(str(path)) for name, path in recipe.inputs.items()},
        "variables": {name: repr(value).removesuffix(".0") for name, value in recipe.variables.items()},
        "blocks": {name: _text(text) for name, text in recipe.blocks.items()},
        "steps": {name: _text(text) for name, text in recipe.texts.items()},
        "save": {save.step: _inline(_save(save)) for save in recipe.saves},
    }
    head = [f"# {' '.join(line.split())}" for line in comments]
    parts = ["\n".join(head)] if head else []
    parts += ["\n".join(_table(name, entries)) for name, entries in tables.items() if entries]
    return "\n\n".join(parts) + "\n"


def _table(name: str, entries: Mapping[str, str]) -> Iterator[str]:
    yield f"[{name}]"
    keys = {key: _key(key) for key in entries}
    width = max(map(len, keys.values()))
    for key, value in entries.items():
        yield f"{keys[key]:<{width}} = {value}"


def _save(save: Save) -> Iterator[tuple[str, str]]:
    yield "file", _text(str(save.file))
    texts = {
        "dtype": save.dtype,
        "vae": str(save.vae) if save.vae else None,
        "discard": save.discard,
        "metadata_from": save.metadata_from if save.metadata_from != "first" else None,
        "config_from": save.config_from if save.config_from != "any" else None,
    }
    for name, value in texts.items():
        if value is not None:
            yield name, _text(value)
    if save.metadata:
        yield "metadata", _inline((key, _text(value)) for key, value in save.metadata.items())


def _inline(entries: Iterable[tuple[str, str]]) -> str:
    return "{ " + ", ".join(f"{_key(key)} = {value}" for key, value in entries) + " }"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    """A basic string: JSON's escapes are TOML's; DEL has one only in TOML."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
