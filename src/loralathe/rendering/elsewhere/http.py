"""Requests to a server that a person named: bounded answers, no redirects, no proxies, nothing kept.

A server is not trusted: it may be slow, gone, or send anything. What it sends is read up to a limit, within
a time, and never followed to another address. `mapping`, `items`, `text` and `texts` take values out of its
JSON, each of the kind that it documents.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from threading import Event
from types import MappingProxyType
from urllib.parse import urlencode

from loralathe.errors import InputError, MachineError, readable
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.work import LostError
from loralathe.version import __version__

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as gone."""
LARGEST_JSON = 32 << 20
"""Bytes: ComfyUI's list of one node, with thousands of files, has less than one megabyte."""
LONGEST = 300.0
"""Seconds that an answer may take to arrive, once it began."""
BUSY = (429, 502, 503, 504)
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before a busy server is asked again."""
ALWAYS = {"User-Agent": f"loralathe/{__version__}", "Accept": "*/*", "Connection": "close"}
JSON_BODY: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json"})
BYTES = "application/octet-stream"
_PIECE = 1 << 16
_SHOWN = 300


@dataclass(frozen=True)
class Answer:
    """Status and body of an HTTP answer."""

    status: int
    body: bytes

    def json(self, where: str) -> object:
        """The body as JSON. Raises LostError for what is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise LostError(f"{where} sent something that is not JSON") from None

    @property
    def text(self) -> str:
        """The beginning of the body, for people."""
        return readable(" ".join(self.body[:_SHOWN].decode("utf-8", "replace").split()))


class Client:
    """Asks one server. `over` is set when waiting is to end."""

    def __init__(self, server: Server, timeout: float = TIMEOUT) -> None:
        self.server = server
        self.over = Event()
        self._timeout = timeout
        self._open: set[http.client.HTTPConnection] = set()

    def abort(self) -> None:
        """End waiting, and break off what is under way in other threads: it raises LostError there."""
        self.over.set()
        for connection in list(self._open):
            if (sock := connection.sock) is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def get(self, path: str, query: Mapping[str, str] | None = None, *, limit: int = LARGEST_JSON) -> Answer:
        """Of any status that is no redirect. Raises LostError for a server that is gone or sends too much."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self._patiently("GET", target, None, limit, headers={})

    def post(
        self, path: str, body: object, *, limit: int = LARGEST_JSON, wait: float | None = None
    ) -> Answer:
        """As `get`, with `body` as JSON. wait: seconds until the answer may begin."""
        return self._patiently("POST", path, json.dumps(body).encode(), limit, wait)

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """A request with bytes and headers of its own; else as `get`."""
        return self._patiently(method, path, body, LARGEST_JSON, headers={"Content-Type": BYTES, **headers})

    def json(self, path: str, query: Mapping[str, str] | None = None) -> object:
        """The JSON of an answer that must be 200. Raises InputError for a server that is another program."""
        answer = self.get(path, query)
        if answer.status in (404, 405):
            raise InputError(
                f"the server does not know {path}",
                where=self.server.name,
                fix="check the address, and that the program is new enough and began with its API",
                about="on",
            )
        require_ok(answer, self.server.name)
        return answer.json(self.server.name)

    def _patiently(
        self,
        method: str,
        path: str,
        body: bytes | None,
        limit: int,
        wait: float | None = None,
        headers: Mapping[str, str] = JSON_BODY,
    ) -> Answer:
        """A busy server is asked again, a few times."""
        for seconds in (*WAITS, None):
            answer = self._ask(method, path, body, limit, wait, headers)
            if answer.status not in BUSY or seconds is None:
                return answer
            if self.over.wait(seconds):
                break
        raise LostError("it was stopped")

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        limit: int,
        wait: float | None,
        headers: Mapping[str, str],
    ) -> Answer:
        name = self.server.name
        connection = self._connection(wait or self._timeout)
        self._open.add(connection)
        stack = ExitStack()
        try:
            connection.request(method, path, body, {**ALWAYS, **headers})
            answer = stack.enter_context(connection.getresponse())
            if 300 <= answer.status < 400:
                raise InputError(
                    "the server sends requests on to another address, which is not followed",
                    where=name,
                    fix="name the address of the program itself",
                    about="on",
                )
            return Answer(answer.status, _read(answer, limit, name))
        except ssl.SSLCertVerificationError as error:
            raise MachineError(
                "the server's certificate cannot be trusted", where=f"{name}: {error.verify_message}"
            ) from error
        except TimeoutError as error:
            raise LostError(f"{name} does not answer") from error
        except (OSError, http.client.HTTPException) as error:
            raise LostError(f"{name}: {str(error) or type(error).__name__}") from error
        finally:
            self._open.discard(connection)
            stack.close()
            connection.close()

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        host, port = self.server.host, self.server.port
        if self.server.secure:
            return http.client.HTTPSConnection(
                host, port, timeout=timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(host, port, timeout=timeout)


def unreachable(server: Server, error: LostError) -> InputError:
    """The error of a server that gave no answer when it was asked what it has."""
    return InputError(
        f"there is no answer from {server.label}: {error}",
        where=server.name,
        fix="start it, with its API, and check the address",
        about="on",
    )


def require_ok(answer: Answer, name: str) -> None:
    """Raises InputError for an answer that asks for a password, LostError for any other that is not 200."""
    if answer.status in (401, 403):
        raise InputError(
            f"the server wants to know who asks (HTTP {answer.status})",
            where=name,
            fix="pictures are asked for without a password: use an address that needs none, such as a tunnel",
            about="on",
        )
    if answer.status != 200:
        raise LostError(f"{name}: HTTP {answer.status} {answer.text}".rstrip())


def _read(answer: http.client.HTTPResponse, limit: int, name: str) -> bytes:
    """The body, up to `limit` bytes and LONGEST seconds."""
    began, pieces, size = time.monotonic(), list[bytes](), 0
    while piece := answer.read1(_PIECE):
        size += len(piece)
        if size > limit:
            raise LostError(f"{name} sent more than {limit:,} bytes")
        if time.monotonic() - began > LONGEST:
            raise LostError(f"{name} sends too slowly")
        pieces.append(piece)
    if answer.length:
        raise LostError(f"{name} broke off in the middle of an answer")
    return b"".join(pieces)


def mapping(value: object, what: str) -> Mapping[str, object]:
    """A JSON object. Raises LostError for anything else; `what` the value is called."""
    if isinstance(value, dict):
        return value
    raise LostError(f"the server's answer lacks '{what}'")


def items(value: object, what: str) -> list[object]:
    """A JSON list."""
    if isinstance(value, list):
        return value
    raise LostError(f"the server's answer lacks '{what}'")


def text(value: object, what: str) -> str:
    """A JSON string."""
    if isinstance(value, str):
        return value
    raise LostError(f"the server's answer lacks '{what}'")


def texts(value: object, what: str) -> list[str]:
    """A JSON list of strings."""
    return [text(one, what) for one in items(value, what)]
