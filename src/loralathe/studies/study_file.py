"""`study.json`: what a folder's pictures are about, so that another study does not take their place unasked.

A study stays the same when an axis gets other values beside those that it had, and when its files change in
place: then only pictures that are missing are made.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from loralathe.errors import InputError, option
from loralathe.rendering.hires import Hires
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import argument_text
from loralathe.tensorfiles import read_text, write_whole

STUDY_FILE = "study.json"
VERSION = 1

Facts = Mapping[str, object]
Axes = Mapping[str, Sequence[str]]
_FILES = ("checkpoint", "vae")
_APART = ("prompt", "negative", "adapters", "hires", "embeddings")


@dataclass(frozen=True)
class Identity:
    """What a study is, as its folder remembers it: facts by name, and the values of its axes by title."""

    facts: Facts
    axes: Axes

    def differs(self, other: Identity) -> list[str]:
        """Names of what is another. A fact that only one of the two has belongs to an axis of the other."""
        shared = [name for name in self.facts if name in other.facts]
        found = [name for name in shared if self.facts[name] != other.facts[name]]
        same = self.axes.keys() == other.axes.keys() and all(
            set(values) & set(other.axes[title]) for title, values in self.axes.items()
        )
        return [name.replace("_", " ") for name in found] + ([] if same else ["axes"])


def identity_of(
    kind: str, folder: Path, request: ImageRequest, cells: Iterable[ImageRequest], axes: Axes, **more: object
) -> Identity:
    """What a study of `cells` is, which all come from `request`.

    Where cells differ, an axis decides. Files are told from the folder's place, so that both can be moved.
    """
    cells = list(cells)
    facts: dict[str, object] = {"kind": kind, "prompt": request.prompt, "negative": request.negative, **more}
    for name in (field.name for field in fields(ImageRequest) if field.name not in _APART):
        values = {getattr(cell, name) for cell in cells}
        if len(values) == 1:
            value = values.pop()
            facts[name] = _place(value, folder) if name in _FILES and value is not None else value
    loras = {tuple(use.file for use in cell.adapters) for cell in cells}
    if len(loras) == 1:
        facts["LoRAs"] = [_place(file, folder) for file in loras.pop()]
    if len(embeddings := {cell.embeddings for cell in cells}) == 1 and (files := embeddings.pop()):
        facts["embeddings"] = [_place(file, folder) for file in files]
    if len({cell.adapters for cell in cells}) == 1:
        facts["strengths"] = [argument_text(replace(use, file="")) for use in cells[0].adapters]
    if all(cell.hires for cell in cells):
        for name in (field.name for field in fields(Hires)):
            if len(found := {getattr(cell.hires, name) for cell in cells}) == 1:
                facts[f"hires {name}"] = found.pop()
    return Identity(facts, {title: list(values) for title, values in axes.items()})


def _place(file: str, folder: Path) -> str:
    """The file as seen from the folder; a name that is no file, and a path on another drive, as it is."""
    if not os.path.exists(file):
        return file
    try:
        return Path(os.path.relpath(os.path.realpath(file), os.path.realpath(folder))).as_posix()
    except ValueError:
        return file


def json_file(value: object) -> bytes:
    """As JSON to read; a file name that is no text has half characters, which JSON spells."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")


def csv_file(rows: Iterable[Sequence[object]]) -> bytes:
    """UTF-8 with a byte-order mark, so that spreadsheets read Chinese text as it is."""
    buffer = io.StringIO()
    # As in RFC 4180: texts with either sign are quoted.
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return b"\xef\xbb\xbf" + buffer.getvalue().encode("utf-8", "backslashreplace")


def csv_number(value: float | None) -> str:
    """Six digits, and never -0; nothing for none."""
    return "" if value is None else f"{value + 0.0:.6g}"


def claim_folder(folder: Path, study: Identity, *, force: bool) -> None:
    """Write down whose the folder is. InputError for a folder of another study, unless it may be replaced."""
    before = _read(folder / STUDY_FILE)
    if before is not None and not force and (found := study.differs(before)):
        raise InputError(
            "the folder belongs to another study",
            where=f"{folder}, not the same: {', '.join(found)}",
            fix=f"choose another with {option('output', 'FOLDER')}, or replace it: {option('force', True)}",
        )
    text = {"version": VERSION, "facts": study.facts, "axes": study.axes}
    write_whole(folder / STUDY_FILE, json_file(text) + b"\n")


def foreign_folder_note(folder: Path, study: Identity, *, force: bool) -> list[str]:
    """What `--dry-run` says where `claim_folder` would refuse."""
    before = _read(folder / STUDY_FILE)
    if before is None or force or not study.differs(before):
        return []
    return [f"{folder} belongs to another study: replace it with {option('force', True)}"]


def _read(path: Path) -> Identity | None:
    """None where nothing is written down, or what is there is not ours: it is replaced."""
    try:
        found = json.loads(read_text(path, "JSON file"))
        return Identity(
            dict(found["facts"]), {title: list(values) for title, values in found["axes"].items()}
        )
    except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
