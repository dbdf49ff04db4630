"""A process that computes, seen from the server: started when it is needed, and again when it died."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

LINE = 64 << 20
"""Bytes of the longest answer."""
GRACE = 20.0
"""Seconds that a cancelled job has, before its process is ended."""

Receive = Callable[[Mapping[str, Any]], None]


class DiedError(Exception):
    """The process is gone; the text says how."""


class Process:
    """One request at a time goes in; its events come out until it is done."""

    def __init__(self, folders: Mapping[str, list[str]], cwd: str) -> None:
        self._folders = json.dumps(folders)
        self._cwd = cwd
        self._process: asyncio.subprocess.Process | None = None
        self._free = asyncio.Lock()
        self._current: object = None

    async def start(self) -> asyncio.subprocess.Process:
        """Start it, so that its libraries are loaded when the first request comes."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "loralathe.workshop.worker",
                self._folders,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE,
                cwd=self._cwd,
                start_new_session=os.name != "nt",
            )
        return self._process

    async def work(
        self, message: Mapping[str, Any], receive: Receive = lambda event: None
    ) -> Mapping[str, Any]:
        """The last event of a request: done, failed or cancelled. Raises DiedError when it goes away."""
        async with self._free:
            self._current = message["id"]
            try:
                process = await self.start()
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(message).encode() + b"\n")
                await process.stdin.drain()
                while line := await process.stdout.readline():
                    event: Mapping[str, Any] = json.loads(line)
                    if event["id"] != message["id"]:
                        continue  # of a request that nobody waits for any more
                    if event["event"] in ("done", "failed", "cancelled"):
                        return event
                    receive(event)
            except (ConnectionError, ValueError) as error:
                await self.kill()
                raise DiedError(str(error)) from error
            finally:
                self._current = None
            raise DiedError(_how(await process.wait()))

    async def cancel(self, number: object) -> None:
        """Ask the request to end; when it does not within a while, its process is ended."""
        for waited in range(int(GRACE / 0.1)):
            if self._current != number:
                return
            if waited % 10 == 0:  # again: it may have come before the request
                await self._tell_cancel(number)
            await asyncio.sleep(0.1)
        await self.kill()

    async def _tell_cancel(self, number: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(json.dumps({"kind": "cancel", "id": number}).encode() + b"\n")
                await self._process.stdin.drain()

    async def kill(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def stop(self) -> None:
        """End it; its input is closed, which cancels what runs."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except asyncio.TimeoutError:
            await self.kill()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
