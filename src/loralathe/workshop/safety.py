"""Who may ask: loopback, this host's name, this page; a token for everybody else. And what pages may do."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loralathe.workshop.language import sayer

COOKIE = "lathe-token"
MARK = "x-lathe"
LARGEST_BODY = 4 << 20
LARGEST_UPLOAD = 64 << 20
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; frame-src 'self'; form-action 'none'; base-uri 'none'"
)
"""Of pages, besides who may show them in a frame."""
NOBODY = "'none'"
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: 'self'"
)
"""For pages and files of people's folders: whatever is in them, it has no origin and reaches nothing."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
Refusal = tuple[int, str, str]
"""The answer's status, what is wrong, and how to mend it."""
log = logging.getLogger("loralathe.workshop")


class TooLargeError(Exception):
    """More was sent than its header said, or than may be."""


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses, in words and in the log, what does not come from a page of this server.

    hosts: what the server may be called, None is anything: then everybody needs the token.
    frames: addresses whose pages may show this server's in a frame.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Iterable[str] | None, token: str | None, frames: Iterable[str] = ()
    ) -> None:
        self._app, self._hosts, self._token = (
            app,
            None if hosts is None else {host.lower() for host in hosts},
            token,
        )
        self._policy = f"{POLICY}; frame-ancestors {' '.join(map(_origin, frames)) or NOBODY}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refused(scope, refusal)(scope, receive, send)
            return
        if (entering := self._entering(scope)) is not None:
            await entering(scope, receive, send)
            return
        try:
            await self._app(scope, self._bounded(scope, receive), self._marked(send, self._policy))
        except TooLargeError:  # nothing was answered yet: bodies are read before
            await _refused(scope, _too_large(scope))(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        host = _host_of(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            return 421, "this server is not called so", "open the address that it printed"
        origin, own = headers.get("origin"), headers.get("host", "").lower()
        if origin is not None and origin.lower() not in (f"http://{own}", f"https://{own}"):
            return 403, "the request comes from another site", "use the pages of this server"
        if headers.get("sec-fetch-site") == "cross-site" and scope["path"] != "/":
            return 403, "the request comes from another site", "use the pages of this server"
        changing = scope["method"] not in ("GET", "HEAD")
        if changing and headers.get(MARK) != "1":
            return (
                403,
                "the header X-Lathe is missing",
                "send X-Lathe: 1 with every request that changes something",
            )
        if int(headers.get("content-length") or 0) > _largest(scope):
            return _too_large(scope)
        if self._token is not None and not self._knows(headers) and not self._asks_in(scope):
            return 401, "the token is missing", "open the address that the server printed, with its token"
        return None

    def _knows(self, headers: Headers) -> bool:
        assert self._token is not None
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return _same(bearer, self._token) or _same(_cookie(headers), self._token)

    def _asks_in(self, scope: Scope) -> bool:
        """The address with the token, as it was printed."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return scope["path"] == "/" and self._token is not None and _same(given, self._token)

    def _entering(self, scope: Scope) -> Response | None:
        if self._token is None or not self._asks_in(scope):
            return None
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", max_age=30 * 86400)
        return answer

    @staticmethod
    def _bounded(scope: Scope, receive: Receive) -> Receive:
        largest, seen = _largest(scope), 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > largest:
                raise TooLargeError
            return message

        return bounded

    @staticmethod
    def _marked(send: Send, policy: str) -> Send:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", policy)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return marked


def _refused(scope: Scope, refusal: Refusal) -> Response:
    log.warning("refused %s %s: %s", scope["method"], scope["path"], refusal[1])
    say = sayer(HTTPConnection(scope))
    what = {"what": say(refusal[1]), "where": "", "fix": say(refusal[2]), "field": None}
    return JSONResponse({"error": what}, refusal[0])


def _too_large(scope: Scope) -> Refusal:
    return 413, f"more than {_largest(scope) >> 20} MB were sent", "send a smaller file"


def _origin(address: str) -> str:
    """ValueError for what is no plain origin: in a policy, a space would begin another source."""
    if not re.fullmatch(r"https?://[\w.\[\]:-]+", address, re.ASCII):
        raise ValueError(f"no origin: {address!r}")
    return address


def _largest(scope: Scope) -> int:
    return LARGEST_UPLOAD if scope["path"] in ("/api/look", "/api/pictures") else LARGEST_BODY


def _host_of(header: str) -> str:
    """`127.0.0.1:7870` → `127.0.0.1`, `[::1]:7870` → `[::1]`."""
    host, colon, port = header.rpartition(":")
    return (host if colon and port.isdigit() else header).lower()


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
