"""The door of another program's server through which `lathe … --on` brings parts of LoRAs with block weights.

A server knows no block weights, so a LoRA that has some is sent as small files of one block each, which are
removed in the end. Whoever has the door's token may put in files of one kind under names of one kind, and
take them out again, and nothing else. `rendering/elsewhere/parts.py` is the other end.

It runs in programs in whose Python loralathe need not be: the standard library alone.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import struct
import time
from collections.abc import AsyncIterable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

ROUTE = "/loralathe/parts/{name}"
HEADER = "X-Lathe-Token"
METHODS = ("GET", "PUT", "DELETE")
OURS = "loralathe-part-"
NAME = re.compile(rf"{OURS}[0-9a-f]{{16}}\.safetensors")
SHORTEST = 24
"""Characters of a token: a shorter one could be guessed, and opens nothing."""
LARGEST = 4 << 30
"""Bytes of a part."""
LARGEST_HEADER = 100 << 20
STALE_SECONDS = 24 * 3600.0
"""After which a part that nobody took out is removed."""

Answer = tuple[int, dict[str, Any]]
"""HTTP status, and what is sent as JSON."""


class PartsDoor:
    """Takes parts into a program's folder of LoRAs, and removes them, for whoever has the token.

    folder: where they go;  secret: the file of the token, made if it is not there. A token of less than
    SHORTEST characters keeps the door closed. Raises OSError where the file cannot be read or made.
    """

    def __init__(self, folder: Path, secret: Path) -> None:
        self._folder = folder
        self._token = token_in(secret)

    async def answer(self, method: str, name: str, token: str | None, body: AsyncIterable[bytes]) -> Answer:
        """For a request: is a part there (GET), take it (PUT), remove it (DELETE)."""
        if not self._opens(token or ""):
            return HTTPStatus.FORBIDDEN, {"what": "the token is missing or wrong"}
        if not NAME.fullmatch(name):
            return HTTPStatus.NOT_FOUND, {"what": "this is no name of a part"}
        path = self._folder / name
        try:
            if method == "PUT":
                sweep(self._folder)
                if refused := await _take(path, body):
                    return refused
            elif method == "DELETE":
                path.unlink(missing_ok=True)
        except OSError as error:
            return HTTPStatus.INSUFFICIENT_STORAGE, {"what": error.strerror or "it could not be written"}
        return HTTPStatus.OK, {"there": path.is_file()}

    def _opens(self, token: str) -> bool:
        return len(self._token) >= SHORTEST and hmac.compare_digest(self._token.encode(), token.encode())


def token_in(secret: Path) -> str:
    """The token; a new one where there is no file yet, for its owner alone to read."""
    secret.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        opened = os.open(secret, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(opened, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
    return secret.read_text("utf-8", "replace").strip()


def sweep(folder: Path) -> None:
    """Remove parts that a run which was killed has left, and those that never arrived whole."""
    for path in folder.glob(f"*{OURS}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()


async def _take(path: Path, body: AsyncIterable[bytes]) -> Answer | None:
    """Write it whole or not at all; the answer where it is not taken."""
    coming, size = path.with_name(f".{secrets.token_hex(4)}-{path.name}.part"), 0
    try:
        with coming.open("w+b") as file:
            async for piece in body:
                size += len(piece)
                if size > LARGEST:
                    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"what": "a part is never so large"}
                file.write(piece)
            if not _is_whole(file, size):
                return HTTPStatus.BAD_REQUEST, {"what": "this is not a whole safetensors file"}
            file.flush()
            os.fsync(file.fileno())
        coming.replace(path)
    finally:
        coming.unlink(missing_ok=True)
    return None


def _is_whole(file: IO[bytes], size: int) -> bool:
    """Whether a safetensors file ends where its header says: 8 bytes of length, JSON, data."""
    file.seek(0)
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
    if not 2 <= length <= min(LARGEST_HEADER, size - 8):
        return False
    try:
        header = json.loads(file.read(length))
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        return bool(ends) and 8 + length + max(ends) == size
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return False
