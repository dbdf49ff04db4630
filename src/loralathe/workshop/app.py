"""The server: pages, the API, files; started by `serve`. It imports no torch."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loralathe import InputError, MachineError, __version__, option
from loralathe.workshop.events import Events
from loralathe.workshop.jobs import Jobs
from loralathe.workshop.library import Library
from loralathe.workshop.places import OUT, Place, Places
from loralathe.workshop.process import Process
from loralathe.workshop.safety import is_loopback
from loralathe.workshop.store import Store

DATABASE = "workshop.sqlite"


@dataclass(frozen=True)
class Options:
    """What is served, and where.

    checkpoints, loras, vaes: folders that are only read;  out: the folder of all that is made.
    host, port: the address;  token: asked of everybody where the address is not this machine's own.
    start: what the forms hold at first: checkpoint, loras, settings.  demo: the tiny family is served.
    """

    out: Path
    checkpoints: Sequence[Path] = ()
    loras: Sequence[Path] = ()
    vaes: Sequence[Path] = ()
    host: str = "127.0.0.1"
    port: int = 7870
    start: Mapping[str, Any] = field(default_factory=dict)
    demo: bool = False

    def places(self) -> Places:
        found = [Place(OUT, "out", self.out.absolute())]
        kinds = (
            ("checkpoints", "checkpoint", self.checkpoints),
            ("loras", "lora", self.loras),
            ("vaes", "vae", self.vaes),
        )
        for name, kind, folders in kinds:
            for number, folder in enumerate(folders, 1):
                found.append(Place(name if number == 1 else f"{name}-{number}", kind, folder.absolute()))
        return Places(found)


class Workshop:
    """Everything that lives as long as the server."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.boot = secrets.token_hex(4)
        self.token = None if is_loopback(options.host) else secrets.token_urlsafe(24)
        self.places = options.places()
        self.events = Events()
        self.store = Store(options.out / DATABASE)
        self.library = Library(self.store, self.places, self.events)
        folders = {
            "reading": [str(one.folder) for one in self.places],
            "writing": [str(self.places.out)],
        }
        self.process = Process(folders, str(self.places.out))
        self.looker = Process(folders, str(self.places.out))
        self.jobs = Jobs(self.store, self.process, self.places, self.events)
        self.version = __version__
        self._choices: dict[str, Any] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The queue and the reading of files go on beside the server."""
        self._tasks = [asyncio.create_task(self.jobs.run()), asyncio.create_task(self.library.run())]
        try:
            yield
        finally:
            self.events.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.process.stop()
            await self.looker.stop()
            self.store.close()

    async def ask(self, kind: str, **message: Any) -> Mapping[str, Any]:
        """A short question for the second process. Raises InputError as it says."""
        from loralathe.workshop.process import DiedError

        try:
            last = await self.looker.work({"id": secrets.token_hex(4), "kind": kind, **message})
        except DiedError as died:
            raise MachineError(
                "the process that answers was ended", where=str(died), fix="ask again"
            ) from died
        if last["event"] == "failed":
            raise RefusedError(last["error"])
        return last

    async def choices(self) -> Mapping[str, Any]:
        """Names of samplers, schedules and axes, asked for once."""
        if self._choices is None:
            self._choices = dict(await self.ask("choices"))
        return self._choices


class RefusedError(Exception):
    """An error of a process, as it is told."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["what"])
        self.error = error


def serve(options: Options, ready: Callable[[str], None], *, browser: bool = True) -> None:
    """Serve until Ctrl-C. ready: told the address when pages can be opened.

    Raises MachineError for a port that is taken, InputError for a folder that cannot be used.
    """
    import uvicorn

    from loralathe.workshop.routes import application

    _check_folders(options)
    listening = _listen(options)
    workshop = Workshop(options)
    address = _address(options, listening.getsockname()[1], workshop.token)
    config = uvicorn.Config(
        application(workshop),
        log_level="warning",
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_announce, args=(server, address, ready, browser), daemon=True).start()
    server.run(sockets=[listening])


def _check_folders(options: Options) -> None:
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"the folder cannot be made: {error.strerror}",
            where=str(options.out),
            fix=f"choose another with {option('out')}",
        ) from error
    for folder in (*options.checkpoints, *options.loras, *options.vaes):
        if not folder.is_dir():
            raise InputError("there is no such folder", where=str(folder), fix="check the path")


def _listen(options: Options) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((options.host, options.port))
        found.listen(128)
    except (OSError, OverflowError) as error:
        raise MachineError(
            "the address cannot be used: another program has it, or it is not this machine's",
            where=f"{options.host}, port {options.port}",
            fix=f"choose another port: {option('port', options.port + 1)}",
        ) from error
    return found


def _address(options: Options, port: int, token: str | None) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    if options.host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def _announce(server: Any, address: str, ready: Callable[[str], None], browser: bool) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.02)
    ready(address)
    if browser:
        webbrowser.open(address)
