"""What draws on a node of a cluster: a renderer that keeps its model, and the files that it was sent.

Made by Ray in a process of its own; everything that comes in comes from `cluster.py`.
"""

from __future__ import annotations

import os
import platform
import queue
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loralathe.errors import LatheError
from loralathe.progress import CallableSink, Event, Progress
from loralathe.rendering.elsewhere.child import Held
from loralathe.rendering.elsewhere.messages import Ended, Picture, packed
from loralathe.rendering.elsewhere.opening import Opening
from loralathe.rendering.request import ImageRequest
from loralathe.tensorfiles import cache_folder, content_hash
from loralathe.version import __version__

FOLDER = "sent"
"""Of files that were sent, inside the program's cache."""


@dataclass(frozen=True)
class FileFacts:
    """A file as the sender has it: its path there, its size and its SHA-256."""

    path: str
    size: int
    digest: str

    @property
    def name(self) -> str:
        return Path(self.path).name


class Node:
    """Draws on one device of a node."""

    def __init__(self, opening: Opening) -> None:
        self._held = Held()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._renderer = opening.renderer(self._held, Progress(CallableSink(self._events.put)))

    def facts(self) -> tuple[str, str, int]:
        """(version of loralathe, name of the machine, number of the process)"""
        return __version__, platform.node(), os.getpid()

    def find(self, file: FileFacts) -> str | None:
        """Where the file is here: at its path, or where an earlier run was sent it; None: nowhere."""
        for path in (Path(file.path), self._place(file)):
            if path.is_file() and path.stat().st_size == file.size and content_hash(path) == file.digest:
                return str(path)
        return None

    def take(self, file: FileFacts, start: int, data: bytes) -> None:
        """A piece of a file that is sent, in its order; the file is there when the last piece is."""
        place = self._place(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f"{place.name}.part")
        with part.open("wb" if start == 0 else "r+b") as opened:
            opened.seek(start)
            opened.write(data)
        if start + len(data) == file.size:
            part.replace(place)

    @staticmethod
    def _place(file: FileFacts) -> Path:
        """By its hash, under its own name, which is told in pictures."""
        folder = cache_folder() or Path(tempfile.gettempdir()) / "loralathe"
        return folder / FOLDER / file.digest[:32] / file.name

    def draw(self, requests: Sequence[ImageRequest], held: Mapping[str, str]) -> tuple[list[Picture], Ended]:
        """The pictures, as far as they were made, and how it ended."""
        pictures: list[Picture] = []
        try:
            self._held.follow(held)
            self._renderer.render(requests, lambda index, image: pictures.append(packed(index, image)))
        except LatheError as error:
            return pictures, Ended(error)
        except Exception as error:  # noqa: BLE001 - the sender decides what to do about it
            traceback.print_exc()
            return pictures, Ended(unexpected=f"{type(error).__name__}: {error}")
        return pictures, Ended()

    def hear(self) -> list[Event]:
        """What happened since the last time."""
        found: list[Event] = []
        while not self._events.empty():
            found.append(self._events.get())
        return found

    def forget(self) -> None:
        self._renderer.close()
        self._held.follow({})
