"""Stand-ins for ComfyUI and A1111 on 127.0.0.1: their documented routes, checks and answers, and faults.

They check what they are sent as the real ones do, draw procedural pictures of it, and remember everything.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image, PngImagePlugin

from loralathe.integrations import HEADER, PartsDoor
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.parts import ROUTE


@dataclass
class Faults:
    """What goes wrong, and how often.

    busy: answers 503 to so many;  dropped: connections closed without an answer, by path
    memory: seed → how often its picture runs out of memory;  seconds: that a picture takes
    answer: in place of a route's own answer, by path: (status, headers, body)
    """

    busy: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    memory: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    answer: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)

    def out_of_memory(self, seed: int) -> bool:
        if self.memory[seed] > 0:
            self.memory[seed] -= 1
            return True
        return False


def picture_of(settings: object, width: int, height: int) -> bytes:
    """A PNG that depends on every setting, with a chunk of the program's own."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).digest()
    image = Image.frombytes("RGB", (3, 3), digest[:27]).resize((width, height), Image.Resampling.NEAREST)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("prompt", json.dumps(settings))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


class RefusedError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class StandIn:
    """Routes by method and path; `asked` has every request in its order."""

    program = "comfyui"

    def __init__(self) -> None:
        self.faults = Faults()
        self.asked: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self.door: PartsDoor | None = None

    def routes(self) -> Mapping[tuple[str, str], Callable[[dict[str, str], Any], object]]:
        raise NotImplementedError

    def reply(self, method: str, target: str, body: Any) -> tuple[int, dict[str, str], bytes] | None:
        """(status, headers, body), None to drop the connection."""
        url = urlsplit(target)
        path, query = unquote(url.path), {key: values[0] for key, values in parse_qs(url.query).items()}
        with self.lock:
            self.asked.append((method, path))
            if self.faults.dropped[path] > 0:
                self.faults.dropped[path] -= 1
                return None
            if self.faults.busy > 0:
                self.faults.busy -= 1
                return 503, {}, b"busy"
            if path in self.faults.answer:
                return self.faults.answer[path]
        for (verb, prefix), answer in self.routes().items():
            if verb == method and (path == prefix or (prefix.endswith("/") and path.startswith(prefix))):
                try:
                    found = answer({**query, "rest": path.removeprefix(prefix)}, body)
                except RefusedError as refused:
                    return refused.status, {}, json.dumps(refused.body).encode()
                return 200, {}, found if isinstance(found, bytes) else json.dumps(found).encode()
        return 404, {}, b'{"detail":"Not Found"}'

    def knocked(self, method: str, target: str, token: str | None, body: bytes) -> tuple[int, bytes]:
        """What the door of our pack or extension says, where it is installed."""
        if self.door is None:
            return 404, b'{"detail":"Not Found"}'

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 1000):
                yield body[start : start + 1000]

        self.asked.append((method, target))
        name = target.rpartition("/")[2]
        status, told = asyncio.run(self.door.answer(method, name, token, pieces()))
        return status, json.dumps(told).encode()

    @contextmanager
    def running(self) -> Iterator[Server]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith(ROUTE):
                    self._knock()
                else:
                    self._answer(None)

            def do_PUT(self) -> None:
                self._knock()

            def do_DELETE(self) -> None:
                self._knock()

            def _knock(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = stand_in.knocked(self.command, self.path, self.headers[HEADER], data)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                assert self.headers["Content-Type"] == "application/json"
                self._answer(json.loads(data))

            def _answer(self, body: Any) -> None:
                reply = stand_in.reply(self.command, self.path, body)
                if reply is None:
                    self.close_connection = True
                    return
                status, headers, content = reply
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(content)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Server(self.program, "127.0.0.1", server.server_port)  # type: ignore[arg-type]
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def when(self, true: Callable[[], object], act: Callable[[], None]) -> None:
        """Act as soon as something is true, from another thread."""

        def wait() -> None:
            while not true():
                time.sleep(0.01)
            act()

        threading.Thread(target=wait, daemon=True).start()

    def count(self, path: str) -> int:
        return sum(1 for _, asked in self.asked if asked == path)
