"""One command with the folder that it runs in: plain data, kept as JSON so that a failure can be replayed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class Fixture:
    """One of the sound files that all cases share, by its name there."""

    name: str


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Folder:
    """An empty folder."""


@dataclass(frozen=True)
class Fifo:
    """A named pipe that nobody writes to: who opens it waits for ever."""


Thing: TypeAlias = bytes | Fixture | Link | Folder | Fifo


@dataclass(frozen=True)
class Case:
    """`lathe WORDS` in a folder that holds `files`; names with a slash lie in subfolders.

    may_change: files that a run which succeeds may replace.
    """

    target: str
    words: tuple[str, ...]
    files: Mapping[str, Thing] = field(default_factory=dict)
    may_change: tuple[str, ...] = ()

    def to_json(self) -> str:
        files = {name: _encode(thing) for name, thing in self.files.items()}
        fields = {"target": self.target, "words": self.words, "files": files, "may_change": self.may_change}
        return json.dumps(fields, indent=1)

    @staticmethod
    def from_json(text: str) -> Case:
        read = json.loads(text)
        files = {name: _decode(thing) for name, thing in read["files"].items()}
        return Case(read["target"], tuple(read["words"]), files, tuple(read.get("may_change", ())))


def read_case(path: Path) -> Case:
    return Case.from_json(path.read_text("utf-8"))


def _encode(thing: Thing) -> dict[str, str]:
    if isinstance(thing, bytes):
        try:
            return {"text": thing.decode("ascii")}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(thing).decode()}
    if isinstance(thing, Fixture):
        return {"fixture": thing.name}
    if isinstance(thing, Link):
        return {"link": thing.target}
    return {"kind": "folder" if isinstance(thing, Folder) else "fifo"}


def _decode(fields: dict[str, str]) -> Thing:
    ((kind, value),) = fields.items()
    if kind == "text":
        return value.encode("ascii")
    if kind == "base64":
        return base64.b64decode(value)
    if kind == "fixture":
        return Fixture(value)
    if kind == "link":
        return Link(value)
    return Folder() if value == "folder" else Fifo()
