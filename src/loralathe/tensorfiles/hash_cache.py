"""Content hashes remembered between runs: hashing 7 GB takes seconds, looking at a file's date does not.

One small JSON file per hashed file, so that runs side by side never write the same one. Whatever is wrong
with the cache (damaged, no home, read-only) only means that hashes are computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sys
from pathlib import Path

_HEX = re.compile(r"[0-9a-f]{64}")


def cache_folder() -> Path | None:
    """The program's folder for cached data; LORALATHE_CACHE overrides, None when the user has no home."""
    override = os.environ.get("LORALATHE_CACHE")
    if override:
        return Path(override)
    try:
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            return (Path(local) if local else Path.home() / "AppData" / "Local") / "loralathe"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "loralathe"
        xdg = os.environ.get("XDG_CACHE_HOME")
        # The XDG specification: a relative path is invalid and to be ignored.
        base = Path(xdg) if xdg and os.path.isabs(xdg) else Path.home() / ".cache"
        return base / "loralathe"
    except RuntimeError:
        return None


class HashCache:
    """SHA-256 digests by resolved path; an entry counts while size, mtime_ns and inode are the same."""

    def __init__(self, folder: Path | None = None) -> None:
        base = folder or cache_folder()
        self._folder = base / "hashes" if base else None

    def get(self, path: Path, status: os.stat_result) -> str | None:
        """The digest (64 hex digits) remembered for this very file, else None."""
        place = self._place(path)
        if place is None:
            return None
        try:
            entry = json.loads(place.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(entry, dict):
            return None
        digest = entry.pop("sha256", None)
        same_file = entry == _key(path, status)
        return digest if same_file and isinstance(digest, str) and _HEX.fullmatch(digest) else None

    def put(self, path: Path, status: os.stat_result, digest: str) -> None:
        """Remember a digest; where nothing can be written this does nothing."""
        place = self._place(path)
        if place is None:
            return
        text = json.dumps(_key(path, status) | {"sha256": digest})
        temporary = place.with_suffix(f".{secrets.token_hex(4)}.tmp")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, "utf-8")
            os.replace(temporary, place)
        except OSError:
            _remove_quietly(temporary)

    def _place(self, path: Path) -> Path | None:
        if self._folder is None:
            return None
        name = hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / f"{name[:32]}.json"


def _key(path: Path, status: os.stat_result) -> dict[str, object]:
    return {
        "path": os.path.realpath(path),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
    }


def _remove_quietly(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
