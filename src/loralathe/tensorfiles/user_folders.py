"""Where this system keeps what a program remembers for its user: cached data, and a file of choices."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROGRAM = "loralathe"


def cache_folder() -> Path | None:
    """The program's folder for cached data; LORALATHE_CACHE overrides, None when the user has no home."""
    override = os.environ.get("LORALATHE_CACHE")
    return (
        Path(override) if override else _folder("LOCALAPPDATA", "Local", "Caches", "XDG_CACHE_HOME", ".cache")
    )


def config_file() -> Path | None:
    """The file of what the user chose; LORALATHE_CONFIG overrides, None when the user has no home."""
    override = os.environ.get("LORALATHE_CONFIG")
    if override:
        return Path(override)
    folder = _folder("APPDATA", "Roaming", "Application Support", "XDG_CONFIG_HOME", ".config")
    return folder / "config.toml" if folder else None


def _folder(windows: str, roaming: str, library: str, xdg: str, hidden: str) -> Path | None:
    """By the variable and folder of Windows, the folder of macOS, the variable and folder of all others."""
    try:
        if sys.platform == "win32":
            data = os.environ.get(windows)
            return (Path(data) if data else Path.home() / "AppData" / roaming) / PROGRAM
        if sys.platform == "darwin":
            return Path.home() / "Library" / library / PROGRAM
        base = os.environ.get(xdg)
        # The XDG specification: a relative path is invalid and to be ignored.
        return (Path(base) if base and os.path.isabs(base) else Path.home() / hidden) / PROGRAM
    except RuntimeError:
        return None
