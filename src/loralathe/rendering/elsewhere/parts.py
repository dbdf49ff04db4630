"""Parts of LoRAs that a server keeps for a while: their names, and the door through which they are sent.

Our pack for ComfyUI and our extension for A1111 open the door: routes of that program's own server. Whoever
has the door's token may put in files of one kind under names of one kind, and take them out again, and
nothing else.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import time
from collections.abc import AsyncIterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from loralathe.errors import InputError, LatheError, MachineError, readable
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.http import Answer, Client, mapping, unreachable
from loralathe.rendering.elsewhere.work import LostError
from loralathe.tensorfiles import StagedFile, read_header, write_at
from loralathe.version import __version__

OURS = "loralathe-part-"
"""How the names of files begin that are written for a server."""
NAME = re.compile(rf"{OURS}[0-9a-f]{{16}}\.safetensors")
ROUTE = "/loralathe/parts"
HEADER = "X-Lathe-Token"
TOKEN = "LORALATHE_TOKEN"
"""The variable of the environment that holds a server's token for who asks it."""
SHORTEST = 24
"""Characters of a token: a shorter one could be guessed, and opens nothing."""
LARGEST = 4 << 30
"""Bytes of a part."""
STALE_SECONDS = 24 * 3600.0
"""After which a file of a run that was killed is removed by the next one."""


def sweep(folder: Path) -> None:
    """Remove parts that a run which was killed has left."""
    for path in folder.glob(f"{OURS}*.safetensors"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()


class PartsDoor:
    """Takes parts into a program's folder of LoRAs, and removes them, for whoever has the token.

    folder: where they go;  secret: the file of the token, made if it is not there.
    Raises MachineError where the file cannot be read or made.
    """

    route = f"{ROUTE}/{{name}}"
    header = HEADER
    methods = ("GET", "PUT", "DELETE")

    def __init__(self, folder: Path, secret: Path) -> None:
        self._folder = folder
        self._token = _token_in(secret)

    async def answer(
        self, method: str, name: str, token: str | None, body: AsyncIterable[bytes]
    ) -> tuple[int, dict[str, object]]:
        """(HTTP status, JSON) for a request: is a part there, take it, remove it."""
        if not self._opens(token or ""):
            return HTTPStatus.FORBIDDEN, {"what": "the token is missing or wrong"}
        if not NAME.fullmatch(name):
            return HTTPStatus.NOT_FOUND, {"what": "this is no name of a part"}
        path = self._folder / name
        try:
            if method == "PUT":
                return await self._take(path, body)
            if method == "DELETE":
                path.unlink(missing_ok=True)
        except (LatheError, OSError) as error:
            return HTTPStatus.INSUFFICIENT_STORAGE, {"what": readable(str(error))}
        return HTTPStatus.OK, {"there": path.is_file(), "version": __version__}

    def _opens(self, token: str) -> bool:
        return len(self._token) >= SHORTEST and hmac.compare_digest(self._token.encode(), token.encode())

    async def _take(self, path: Path, body: AsyncIterable[bytes]) -> tuple[int, dict[str, object]]:
        sweep(self._folder)
        staged, size = StagedFile(path, replace=True), 0
        try:
            async for piece in body:
                if size + len(piece) > LARGEST:
                    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"what": "a part is never so large"}
                write_at(staged.fd, memoryview(piece), size)
                size += len(piece)
            staged.commit()
        finally:
            staged.discard()
        try:
            read_header(path)
        except InputError:
            path.unlink(missing_ok=True)
            return HTTPStatus.BAD_REQUEST, {"what": "this is not a whole safetensors file"}
        return HTTPStatus.OK, {"there": True, "version": __version__}


def _token_in(secret: Path) -> str:
    """The token; a new one where there is no file yet, for its owner alone to read."""
    try:
        secret.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            opened = os.open(secret, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(opened, "w", encoding="ascii") as file:
                file.write(f"{secrets.token_urlsafe(32)}\n")
        return secret.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MachineError(
            "the token of the door for LoRAs cannot be kept", where=f"{secret}: {error}"
        ) from error


class Doors:
    """The doors of all servers of a pool, which have one token. InputError for what is none."""

    def __init__(self, servers: Sequence[Server], token: str) -> None:
        if not (token.isascii() and token.isprintable()):
            raise InputError("this is no token", where=TOKEN, fix="it is a line of letters, digits, - and _")
        self._clients = [Client(server) for server in servers]
        self._headers = {HEADER: token}

    def lacking(self, name: str) -> list[Client]:
        """Servers without the part. Raises InputError for one that has no door, or does not open it."""
        return [client for client in self._clients if not self._ask(client, "GET", name).get("there")]

    def send(self, client: Client, file: Path) -> None:
        """Put a part in. Raises InputError where the server does not take it."""
        self._ask(client, "PUT", file.name, file.read_bytes())

    def remove(self, name: str) -> None:
        """Take a part out everywhere; a server that is gone keeps it until its door sweeps."""
        for client in self._clients:
            with suppress(LostError, InputError):
                self._ask(client, "DELETE", name)

    def _ask(self, client: Client, method: str, name: str, body: bytes | None = None) -> dict[str, object]:
        try:
            answer = client.send(method, f"{ROUTE}/{quote(name)}", body, self._headers)
            _require_open(answer, client.server)
            return dict(mapping(answer.json(client.server.name), "part"))
        except LostError as error:
            raise unreachable(client.server, error) from error


def _require_open(answer: Answer, server: Server) -> None:
    """Raises InputError for a door that is closed, or not there."""
    if answer.status == HTTPStatus.FORBIDDEN:
        raise InputError(
            "the server does not take this token",
            where=server.name,
            fix=f"{TOKEN} is what stands in the file of its token",
            about="on",
        )
    if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        raise InputError(
            f"{server.label} has no door for parts of LoRAs",
            where=server.name,
            fix="put loralathe's nodes or extension in, of the same version, and start it anew",
            about="on",
        )
    if answer.status != HTTPStatus.OK:
        raise InputError(
            "the server does not take a part of a LoRA",
            where=f"{server.name}: HTTP {answer.status} {answer.text}".rstrip(),
            about="on",
        )
