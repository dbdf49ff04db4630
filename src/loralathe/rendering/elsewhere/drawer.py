"""What draws for another process: a renderer that keeps its models, and says what it does.

`main` is the process of one device, asked through pipes; it ends with the process that began it. `Node` is
an actor of a cluster, made by Ray in a process of its own; everything that comes in comes from `cluster`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from loralathe.errors import LatheError
from loralathe.progress import CallableSink, Cancel, Event, Progress
from loralathe.rendering.elsewhere.messages import (
    Draw,
    Ended,
    Forget,
    Happened,
    Open,
    Opening,
    Picture,
    packed,
    receive,
    send,
)
from loralathe.rendering.request import ImageRequest, OnImage
from loralathe.tensorfiles import cache_folder, confine, content_hash
from loralathe.version import __version__

if TYPE_CHECKING:
    import torch

    from loralathe.rendering.local import LocalRenderer

GRACE = 10.0
"""Seconds that a step has to end after the other process is gone."""
QUIET_SECONDS = 0.1
"""Between two events of a task that counts bytes."""
SENT = "sent"
"""The folder of files that were sent, inside the program's cache."""


class Voice:
    """Writes messages, from any thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last = 0.0

    def say(self, message: object) -> None:
        with self._lock:
            send(self._stream, message)

    def emit(self, event: Event) -> None:
        """As a sink of progress. Steps are all told; bytes are thinned."""
        if event.kind == "advance" and event.unit == "B":
            now = time.monotonic()
            if now - self._last < QUIET_SECONDS:
                return
            self._last = now
        self.say(Happened(event))


class Held(dict[str, Mapping[str, "torch.Tensor"]]):
    """Weights that the other process holds in memory, mapped from the files that it wrote them into."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, str] = {}

    def follow(self, files: Mapping[str, str]) -> None:
        """Hold these, and no others."""
        import torch

        for name in [name for name in self if self._files[name] != files.get(name)]:
            del self[name]
        for name, file in files.items():
            if name not in self:
                self[name] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
                self._files[name] = file


def main() -> None:
    voice = Voice(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what libraries print goes where errors go
    first = receive(sys.stdin.buffer)
    assert isinstance(first, Open)
    if first.confined is not None:
        confine(*first.confined)
    cancel, waiting = Cancel(), queue.SimpleQueue[object]()
    threading.Thread(target=_listen, args=(waiting, cancel), daemon=True).start()
    held = Held()
    with first.opening.renderer(held, Progress(voice, cancel)) as renderer:
        while (message := waiting.get()) is not None:
            if isinstance(message, Forget):
                renderer.close()
                held.follow({})
            elif isinstance(message, Draw):
                held.follow(message.held)
                ended = _draw(
                    renderer, message.requests, lambda index, image: voice.say(packed(index, image))
                )
                voice.say(ended)


def _draw(renderer: LocalRenderer, requests: Sequence[ImageRequest], on_image: OnImage) -> Ended:
    """Draw them, and say how it ended: the process that asked decides what to do about it."""
    try:
        renderer.render(requests, on_image)
    except LatheError as error:
        return Ended(error)
    except Exception as error:  # noqa: BLE001 - what a library raises here must end there, not here
        traceback.print_exc()
        return Ended(unexpected=f"{type(error).__name__}: {error}")
    return Ended()


def _listen(waiting: queue.SimpleQueue[object], cancel: Cancel) -> None:
    """Put messages into the queue; when the other process is gone, stop the work, and be gone as well."""
    try:
        while True:
            waiting.put(receive(sys.stdin.buffer))
    except (EOFError, OSError):
        waiting.put(None)
        cancel.cancel()
        time.sleep(GRACE)
        os._exit(1)


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
        return folder / SENT / file.digest[:32] / file.name

    def draw(self, requests: Sequence[ImageRequest], held: Mapping[str, str]) -> tuple[list[Picture], Ended]:
        """The pictures, as far as they were made, and how it ended."""
        pictures: list[Picture] = []
        self._held.follow(held)
        ended = _draw(self._renderer, requests, lambda index, image: pictures.append(packed(index, image)))
        return pictures, ended

    def hear(self) -> list[Event]:
        """What happened since the last time."""
        found: list[Event] = []
        while not self._events.empty():
            found.append(self._events.get())
        return found

    def forget(self) -> None:
        self._renderer.close()
        self._held.follow({})


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, EOFError):
        main()
    os._exit(0)  # nothing is left to be written, and libraries take seconds to be taken down
