"""Events to every open page, as they happen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

MOST = 1000
"""Events that wait for a page that does not read; then it is cut off, and comes back."""
BEAT = 15.0
"""Seconds after which an empty line shows that the connection lives."""


class Events:
    def __init__(self) -> None:
        self._open: set[asyncio.Queue[tuple[str, Mapping[str, Any]] | None]] = set()

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """Send to all pages; never waits."""
        for waiting in list(self._open):
            try:
                waiting.put_nowait((event, data))
            except asyncio.QueueFull:
                self._open.discard(waiting)

    def close(self) -> None:
        """End all streams."""
        for waiting in list(self._open):
            self._open.discard(waiting)
            while not waiting.empty():
                waiting.get_nowait()
            waiting.put_nowait(None)

    async def stream(
        self, hello: Mapping[str, Any], translate: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
    ) -> AsyncIterator[bytes]:
        """One page's events as text/event-stream."""
        waiting: asyncio.Queue[tuple[str, Mapping[str, Any]] | None] = asyncio.Queue(MOST)
        self._open.add(waiting)
        try:
            yield _line("hello", hello)
            while waiting in self._open or not waiting.empty():
                try:
                    found = await asyncio.wait_for(waiting.get(), BEAT)
                except asyncio.TimeoutError:
                    yield b":\n\n"
                    continue
                if found is None:
                    return
                yield _line(found[0], translate(*found))
        finally:
            self._open.discard(waiting)


def _line(event: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
