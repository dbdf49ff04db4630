"""What a person keeps beside the results: block lists, profiles of settings, recipes, pictures."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request as Asked

from loralathe import (
    SETTINGS,
    InputError,
    LatheError,
    builtin_lists,
    did_you_mean,
    preset_lists,
    read_settings,
    write_preset,
    write_settings,
    write_text,
    write_whole,
)
from loralathe.workshop.app import Workshop
from loralathe.workshop.commands import plain_value, read_json
from loralathe.workshop.errors import said
from loralathe.workshop.fields import OPTIONS
from loralathe.workshop.language import sayer
from loralathe.workshop.places import PICTURES, Places
from loralathe.workshop.safety import log

PRESETS = "lbwpresets.txt"
_FIELDS = OPTIONS["render"]
_FILES = {name for name, field in _FIELDS.items() if field.kind == "file"}
_NUMBERS = re.compile(r"\s*-?[\d.]+(\s*,\s*-?[\d.]+){11,}\s*")
"""A list that LoRA Block Weight reads as well: numbers alone, as many as the shortest of its lists has."""
_NAME = re.compile(r"[^\\/:*?\"<>|\x00-\x1f.][^\\/:*?\"<>|\x00-\x1f]{0,79}")


_BEGINS = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}


def keep_picture(places: Places, name: str, data: bytes) -> str:
    """Keep a picture that somebody gave; what it is called. InputError for what is no picture."""
    ending = next((one for begin, one in _BEGINS.items() if data.startswith(begin)), "")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        ending = ".webp"
    if not ending:
        raise InputError("this is no picture", where=name[:80], fix="choose a PNG, JPEG or WebP")
    stem = re.sub(r"[^\w-]+", "-", Path(name).stem)[:40].strip("-") or "picture"
    kept = f"out/{PICTURES}/{stem}-{hashlib.sha256(data).hexdigest()[:8]}{ending}"
    path = places.locate(kept)
    path.parent.mkdir(exist_ok=True)
    if not path.is_file():
        write_whole(path, data)
    return kept


class Kept:
    """The functions behind `presets`, `profiles`, `recipe` and `recipes`."""

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop

    async def presets(self, asked: Asked) -> dict[str, Any]:
        """Block lists: the own ones, and names of those that are built in."""
        builtin = {name: name for name in builtin_lists()}  # a name stands for its list wherever one is read
        return {"lists": self.lists(), "builtin": builtin}

    async def preset(self, asked: Asked) -> dict[str, Any]:
        """Keep a block list under a name, or remove it. Lists that another program reads go into its file."""
        text = None if asked.method == "DELETE" else str(read_json(await asked.body()).get("list", ""))
        name, own, shared = asked.path_params["name"], self._presets(), self._shop.options.presets
        home = shared if shared and text is not None and _NUMBERS.fullmatch(text) else own
        if text is not None:
            write_preset(home, name, text)
        for file in (own, shared):
            if file is not None and (text is None or file != home) and name in preset_lists(file):
                write_preset(file, name, None)
        return await self.presets(asked)

    def lists(self) -> dict[str, str]:
        """The person's block lists by name: those of another program, and over them the own ones."""
        shared = self._shop.options.presets
        return {**(preset_lists(shared) if shared else {}), **preset_lists(self._presets())}

    def _presets(self) -> Path:
        return self._shop.places.out / PRESETS

    async def profiles(self, asked: Asked) -> dict[str, Any]:
        """Settings of pictures by name."""
        found = {}
        for one in sorted((self._shop.places.out / "profiles").glob("*.toml")):
            try:
                found[one.stem] = self._named_files(read_settings(one).values)
            except LatheError as error:  # somebody wrote it by hand: the others can be used
                log.warning("passed over %s", error)
        return found

    async def profile(self, asked: Asked) -> dict[str, Any]:
        """Keep settings under a name, or remove them."""
        path = self._named("profiles", asked.path_params["name"])
        if asked.method == "DELETE":
            path.unlink(missing_ok=True)
        else:
            settings = self._settings(read_json(await asked.body()).get("settings"))
            with tempfile.TemporaryDirectory() as own:
                tried = Path(own) / path.name
                write_settings(tried, settings)
                read_settings(tried)
            path.parent.mkdir(exist_ok=True)
            write_settings(path, settings, force=True)
        return await self.profiles(asked)

    def _settings(self, given: object) -> dict[str, Any]:
        """Settings as a profile holds them: files by their paths. InputError for what is no setting."""
        if not isinstance(given, Mapping):
            raise InputError("'settings' is a JSON object")
        for name in given:
            if name not in SETTINGS:
                fix = did_you_mean(str(name), SETTINGS) or f"settings are {', '.join(SETTINGS)}"
                raise InputError(f"there is no setting '{str(name)[:80]}'", fix=fix)
        said = {name: value for name, value in given.items() if value not in (None, "")}
        return {name: self._setting(name, value) for name, value in said.items()}

    def _setting(self, name: str, value: object) -> object:
        if name in _FILES:
            return str(self._shop.places.file(str(value)))
        return plain_value(_FIELDS[name], name, value)

    def _named_files(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same with files as the workshop calls them, without those that are in none of its folders."""
        found = dict(values)
        for name in _FILES & found.keys():
            found[name] = self._shop.places.name(found[name])
        return {name: value for name, value in found.items() if value is not None}

    def _named(self, folder: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InputError(f"'{name}' cannot be a name", fix="letters, digits, spaces, at most 80")
        return self._shop.places.locate(f"out/{folder}/{name}.toml")

    async def recipe_check(self, asked: Asked) -> dict[str, Any]:
        """What the text of a recipe says, or its mistakes with their places."""
        text = str(read_json(await asked.body()).get("text", ""))
        folder = self._shop.places.locate("out/recipes")
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as own:
            path = Path(own) / "recipe.toml"
            path.write_text(text, encoding="utf-8")
            found = dict(await self._shop.ask("recipe", words=[str(path)]))
        errors = [said(one, sayer(asked)) | _place_in(one, text) for one in found["errors"]]
        return {**{key: found[key] for key in ("variables", "steps", "saves")}, "errors": errors}

    async def recipes(self, asked: Asked) -> dict[str, Any]:
        """Names of the recipes that are kept."""
        folder = self._shop.places.out / "recipes"
        return {"recipes": sorted(one.stem for one in folder.glob("*.toml") if not one.name.startswith("."))}

    async def recipe(self, asked: Asked) -> dict[str, Any]:
        """One recipe: its text; keep one; remove it."""
        path = self._named("recipes", asked.path_params["name"])
        if asked.method == "PUT":
            write_text(path, str(read_json(await asked.body()).get("text", "")), force=True)
        elif asked.method == "DELETE":
            path.unlink(missing_ok=True)
            return {}
        if not path.is_file():
            raise InputError("there is no such recipe", where=path.stem, fix="choose another")
        return {"name": f"out/recipes/{path.name}", "text": path.read_text(encoding="utf-8")}


def _place_in(error: Mapping[str, Any], text: str) -> dict[str, int | None]:
    """Line and column of a recipe's mistake, by the words of its place."""
    where = f"{error['what']} {error['where']}"
    if found := re.search(r"line (\d+)(?:,? column (\d+))?", where):
        return {"line": int(found[1]), "column": int(found[2] or 1)}
    if found := re.search(r"step '(\w+)'(?:, character (\d+))?", where):
        for number, line in enumerate(text.splitlines(), 1):
            if begin := re.match(rf'\s*"?{re.escape(found[1])}"?\s*=\s*["\']?', line):
                return {"line": number, "column": begin.end() + int(found[2] or 1)}
    return {"line": None, "column": None}
