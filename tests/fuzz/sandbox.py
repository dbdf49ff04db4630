"""The folder that a case runs in: laid out before, compared after."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from fuzz.case import Case, Fifo, Fixture, Folder, Link

Contents = dict[str, str]
"""Name below the folder → what is there."""


def lay_out(case: Case, folder: Path, fixtures: Path) -> None:
    """Make the case's files in an empty `folder`. Fixtures are linked: whoever writes in one is found out."""
    for name, thing in case.files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(thing, bytes):
            place.write_bytes(thing)
        elif isinstance(thing, Fixture):
            os.link(fixtures / thing.name, place)
        elif isinstance(thing, Link):
            place.symlink_to(thing.target)
        elif isinstance(thing, Folder):
            place.mkdir()
        elif isinstance(thing, Fifo):
            os.mkfifo(place)


def contents(folder: Path) -> Contents:
    """Every name below `folder`, hidden ones too; links are not followed."""
    found = {}
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(base, name)
            found[str(path.relative_to(folder))] = _what(path)
    return found


def _what(path: Path) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"link to {os.readlink(path)}"
    if stat.S_ISREG(mode):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "folder" if stat.S_ISDIR(mode) else "device or pipe"
