"""Settings of pictures in a file: a profile (TOML), or what a picture says of how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import PathLike
from loralathe.api.look import picture_notes
from loralathe.errors import InputError, did_you_mean, few
from loralathe.language import read_toml, toml_text
from loralathe.tensorfiles import check_is_file, text_bytes, write_text

if TYPE_CHECKING:
    from loralathe.strengths import AdapterUse

__all__ = ["SETTINGS", "Settings", "read_settings", "write_settings"]

Value = str | int | float | bool | list[str]

SETTINGS: Mapping[str, type] = {
    "prompt": str, "negative": str, "seed": int, "steps": int, "cfg": float, "sampler": str, "schedule": str,
    "size": str, "vae": str, "clip_skip": int, "guidance": float, "styles": str, "style": list,
    "hires": float, "hires_upscaler": str, "hires_steps": int, "hires_denoising": float,
    "on": str, "device": str, "devices": str, "dtype": str, "low_vram": bool, "batch": int,
    "prediction": str, "tokenizer": str, "text_encoder": list,
    "hashes": bool, "missing_blocks": int, "allow_unmatched": bool,
}  # fmt: skip
"""What a profile may hold: fields of `Picture`, and those of `ModelOptions` that are plain values."""

_KINDS = {
    str: "a text in quotes", int: "a whole number", float: "a number", bool: "true or false",
    list: "a list of texts",
}  # fmt: skip
_EXAMPLES = {str: '"…"', int: "20", float: "7.5", bool: "true", list: '["…"]'}
_PNG = b"\x89PNG\r\n"
_ENTRIES = {
    "Steps": "steps", "Sampler": "sampler", "Schedule type": "schedule", "CFG scale": "cfg", "Seed": "seed",
    "Size": "size", "Clip skip": "clip_skip", "Distilled CFG Scale": "guidance",
    "Hires upscale": "hires", "Hires upscaler": "hires_upscaler",
    "Hires steps": "hires_steps", "Denoising strength": "hires_denoising",
}  # fmt: skip
"""Entries of infotext, and the fields that they are."""
_SETS_NOTHING = frozenset({
    "Model", "Model hash", "VAE", "VAE hash", "Lora hashes", "TI hashes", "Version", "Rendered by", "RNG",
})  # fmt: skip
"""Entries that name files and programs."""


@dataclass(frozen=True)
class Settings:
    """Keywords of pictures by name, and notes for people: what the file says besides, and is not taken."""

    values: Mapping[str, Value]
    notes: tuple[str, ...] = ()


def read_settings(path: PathLike) -> Settings:
    """The settings in a profile, or those that a PNG of lathe or A1111 was made with.

    They are keywords: `render("base.safetensors", **read_settings("profile.toml").values)`. Checkpoint, VAE
    and LoRAs of a picture are not taken; the notes name them. Raises InputError for unknown fields and for
    values of another kind.
    """
    file = Path(path)
    check_is_file(file, "give the path of a profile (.toml) or a picture (.png)")
    with file.open("rb") as opened:
        is_picture = opened.read(len(_PNG)) == _PNG
    return _from_picture(file) if is_picture else _from_profile(file)


def write_settings(path: PathLike, values: Mapping[str, object], *, force: bool = False) -> None:
    """Write a profile of those values that are not None; one that says the same may be there already."""
    given = {name: values[name] for name in SETTINGS if values.get(name) not in (None, (), [])}
    text = "".join(f"{name} = {_toml(value)}\n" for name, value in given.items())
    file = Path(path)
    data = text_bytes(text, str(file))
    same = file.is_file() and file.stat().st_size == len(data) and file.read_bytes() == data
    if not same:
        write_text(file, text, force=force)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(toml_text(str(one)) for one in value)}]"
    return repr(value).removesuffix(".0") if isinstance(value, (int, float)) else toml_text(str(value))


def _from_profile(file: Path) -> Settings:
    values: dict[str, Value] = {}
    for name, value in read_toml(file, "profile").items():
        kind = SETTINGS.get(name)
        if kind is None:
            raise InputError(
                f"a profile has no field '{name}'",
                where=str(file),
                fix=did_you_mean(name, SETTINGS) or f"fields are {', '.join(SETTINGS)}",
            )
        if not _is_of(value, kind):
            raise InputError(
                f"'{name}' must be {_KINDS[kind]}", where=str(file), fix=f"write {name} = {_EXAMPLES[kind]}"
            )
        values[name] = value
    for name in ("vae", "styles"):  # relative to the file's folder, as in recipes
        if name in values:
            values[name] = str(file.parent / str(values[name]))
    return Settings(values)


def _is_of(value: object, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is list:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return isinstance(value, (int, float) if kind is float else kind)


def _from_picture(file: Path) -> Settings:
    from loralathe.rendering.prompts import lift_tags

    found = picture_notes(file)
    tagged = lift_tags(found.prompt)
    values: dict[str, Value] = {"prompt": tagged.prompt.strip(), "negative": found.negative}
    for entry in _taken(found.entries):
        name = _ENTRIES[entry]
        values[name] = _value(found.entries[entry], SETTINGS[name], f"{file}, {entry}")
    return Settings(values, tuple(_not_taken(file.name, found.entries, tagged.adapters)))


def _taken(entries: Mapping[str, str]) -> list[str]:
    """Those that are fields. A denoising strength without hires fix is that of img2img."""
    known = [entry for entry in _ENTRIES if entry in entries]
    return known if "Hires upscale" in entries else [one for one in known if one != "Denoising strength"]


def _value(text: str, kind: type, where: str) -> Value:
    from loralathe.strengths import parse_number, parse_whole

    if kind is str:
        return text
    return parse_whole(text, where=where) if kind is int else parse_number(text, where=where)


def _not_taken(name: str, entries: Mapping[str, str], adapters: Iterable[AdapterUse]) -> Iterator[str]:
    from loralathe.strengths import tag_text

    files = [f"{what} {entries[what]}" for what in ("Model", "VAE") if what in entries]
    files += map(tag_text, adapters)
    if files:
        yield f"the files that {name} was made with are not taken, give those that you want: {few(files, 9)}"
    others = [entry for entry in entries if entry not in _taken(entries) and entry not in _SETS_NOTHING]
    if others:
        yield f"{name} has settings that do not exist here: {few(others, 9)}"
