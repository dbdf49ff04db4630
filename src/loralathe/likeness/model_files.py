"""Model files by name and content, and where they were found last, remembered on this machine by SHA-256.

A card is given to others, so it says what its models are, and not in which folders its maker has them.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loralathe.errors import InputError, MachineError
from loralathe.tensorfiles import cache_folder, content_hash, read_small, write_whole

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelFile:
    """A model file by its name and content."""

    name: str
    sha256: str


def model_file(path: Path) -> ModelFile:
    """The file at `path`; InputError where there is none. Its place is remembered on this machine."""
    found = ModelFile(path.name, content_hash(path))
    remember_place(found.sha256, path)
    return found


def remember_place(sha256: str, path: Path) -> None:
    """Nothing happens where nothing can be written."""
    note = _note(sha256)
    if note is not None and remembered_place(sha256) != path.absolute():
        with suppress(MachineError, InputError):
            write_whole(note, json.dumps(str(path.absolute())).encode())


def remembered_place(sha256: str) -> Path | None:
    """Where the file was; it may be gone, or another by now."""
    note = _note(sha256)
    if note is None or not note.is_file():
        return None
    try:
        found = json.loads(read_small(note, "remembered place"))
    except (InputError, OSError, ValueError, RecursionError):  # damaged: as if it were not there
        return None
    return Path(found) if isinstance(found, str) and "\0" not in found else None


def _note(sha256: str) -> Path | None:
    base = cache_folder()
    return base / "models" / f"{sha256[:32]}.json" if base and _DIGEST.fullmatch(sha256) else None
