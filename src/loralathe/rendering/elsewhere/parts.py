"""Parts of LoRAs that a server keeps for a while: their names, and how they are sent through its door.

The door is a route of that program's own server, which our pack or extension adds; `integrations/door.py`
says what it takes and from whom.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from loralathe.errors import InputError
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.http import Answer, Client, mapping, unreachable
from loralathe.rendering.elsewhere.work import LostError

OURS = "loralathe-part-"
"""How the names of files begin that are written for a server."""
ROUTE = "/loralathe/parts"
HEADER = "X-Lathe-Token"
TOKEN = "LORALATHE_TOKEN"
"""The variable of the environment that holds a server's token for who asks it."""
STALE_SECONDS = 24 * 3600.0
"""After which a file of a run that was killed is removed by the next one."""


def sweep(folder: Path) -> None:
    """Remove parts that a run which was killed has left."""
    for path in folder.glob(f"{OURS}*.safetensors"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()


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
