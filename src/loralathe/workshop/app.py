"""What lives as long as the server: folders, queue, library, and both processes that compute."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loralathe import MachineError, __version__, program_folders
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

    checkpoints, loras, vaes, embeddings, faces: folders that are only read, the last of models that look at
        pictures;  out: the folder of all that is made.
    host, port: the address;  token: asked of everybody where the address is not this machine's own.
    start: what the forms hold at first: checkpoint, loras, settings.  demo: the tiny family is served.
    presets: a file of another program's block lists, offered beside the own ones, and shared with it: lists
    of numbers are kept there.
    programs: folders of programs that may draw in place of this one, `comfyui` and `webui`.
    frames: addresses (http://127.0.0.1:7860) whose pages may show it in a frame, and hand settings over.
    """

    out: Path
    checkpoints: Sequence[Path] = ()
    loras: Sequence[Path] = ()
    vaes: Sequence[Path] = ()
    embeddings: Sequence[Path] = ()
    faces: Sequence[Path] = ()
    host: str = "127.0.0.1"
    port: int = 7870
    start: Mapping[str, Any] = field(default_factory=dict)
    demo: bool = False
    presets: Path | None = None
    frames: Sequence[str] = ()
    programs: Mapping[str, Path] = field(default_factory=dict)

    @property
    def shared(self) -> list[Path]:
        """Folders of other programs in which LoRAs are put for them to draw with, and taken away again."""
        return [
            one for name, folder in self.programs.items() for one in program_folders(name, folder, "loras")
        ]

    def places(self) -> Places:
        found = [Place(OUT, "out", self.out.absolute())]
        kinds = (
            ("checkpoints", "checkpoint", self.checkpoints),
            ("loras", "lora", self.loras),
            ("vaes", "vae", self.vaes),
            ("embeddings", "embedding", self.embeddings),
            ("faces", "face", self.faces),
        )
        for name, kind, folders in kinds:
            for number, folder in enumerate(folders, 1):
                found.append(Place(name if number == 1 else f"{name}-{number}", kind, folder.absolute()))
        return Places(found, self.programs)


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
            "writing": [str(self.places.out), *map(str, options.shared)],
        }
        self.process = Process(folders, str(self.places.out))
        self.looker = Process(folders, str(self.places.out))
        self.jobs = Jobs(self.store, self.process, self.places, self.events)
        self.version = __version__
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The queue and the reading of files go on beside the server."""
        work = (self.jobs.run(), self.library.run(), self._warm())
        self._tasks = [asyncio.create_task(one) for one in work]
        try:
            yield
        finally:
            self.events.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(self.process.stop(), self.looker.stop())
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
        """Names of samplers, schedules and axes: asked for once in each version."""
        name = f"choices of {self.version}"
        found: Mapping[str, Any] | None = self.store.kept(name)
        if found is None:
            found = dict(await self.ask("choices"))
            self.store.keep(name, found)
        return found

    async def _warm(self) -> None:
        """Start the process that answers, before the first page asks."""
        with contextlib.suppress(MachineError, RefusedError, OSError):
            await self.ask("choices")


class RefusedError(Exception):
    """An error of a process, as it is told."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["what"])
        self.error = error
