"""File names as people type them: `が` is one character or two, and both name the same file.

macOS stores names decomposed (NFD), keyboards and web pages give them composed (NFC); a file system that
compares bytes takes them for two names. Characters that nobody can see come along when text is copied.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from loralathe.errors import visible, whole


def name_key(name: str) -> str:
    """Equal for names that look alike: one Unicode normal form, no invisible characters."""
    return unicodedata.normalize("NFC", visible(whole(name)))


def stored_path(path: Path) -> Path:
    """The path itself where something has its name; else the only one that looks like it.

    Where there is none either, the path without invisible characters.
    """
    text = os.fspath(path)
    if text.isascii() or os.path.lexists(text):
        return path
    found = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        found /= part if os.path.lexists(found / part) else _stored_name(found, part)
    return found if os.path.lexists(found) else Path(visible(text))


def _stored_name(folder: Path, name: str) -> str:
    key = name_key(name)
    try:
        alike = [other for other in os.listdir(folder) if name_key(other) == key]
    except OSError:
        return name
    return alike[0] if len(alike) == 1 else name
