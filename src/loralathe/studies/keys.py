"""The name of a finished picture: a hash of its whole request and of what its files hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from loralathe.rendering.request import ImageRequest

Identify = Callable[[str], str]
SCHEME = 1
KEY_LENGTH = 24


def file_identity(path: str) -> str:
    """Name, size and time of change: quick, and equal for the same file. What is no file is its own name.

    Of a diffusers folder, those of the files in its subfolders: the folder's own date tells nothing of them.
    """
    place = Path(path)
    try:
        if place.is_dir():
            return "|".join([place.name, *map(_of_file, sorted(place.glob("*/*")))])
        return _of_file(place)
    except OSError:
        return path


def _of_file(path: Path) -> str:
    status = path.stat()
    return f"{path.name}:{status.st_size}:{status.st_mtime_ns}"


def request_key(
    request: ImageRequest,
    identify: Identify,
    recipe: str | None = None,
    variables: tuple[tuple[str, float], ...] = (),
) -> str:
    """24 hexadecimal digits of SHA-256 over the request with every file replaced by `identify(file)`.

    A recipe takes the checkpoint's place by its own identity and the values of its variables.
    """
    fields = request.to_json()
    fields["checkpoint"] = identify(request.checkpoint) if recipe is None else [recipe, *variables]
    fields["vae"] = None if request.vae is None else identify(request.vae)
    for use in fields["adapters"]:
        use["file"] = identify(use["file"])
    text = json.dumps([SCHEME, fields], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_LENGTH]
