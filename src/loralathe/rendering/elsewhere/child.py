"""The process that draws on one device. It ends with the process that began it."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING

from loralathe.errors import LatheError
from loralathe.progress import Cancel, Event, Progress
from loralathe.rendering.elsewhere.messages import Draw, Ended, Forget, Happened, Open, packed, receive, send
from loralathe.tensorfiles import confine

if TYPE_CHECKING:
    import torch

    from loralathe.rendering.local import LocalRenderer

GRACE = 10.0
"""Seconds that a step has to end after the other process is gone."""
QUIET_SECONDS = 0.1
"""Between two events of a task that counts bytes."""


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
                voice.say(_draw(renderer, message, voice))


def _draw(renderer: LocalRenderer, message: Draw, voice: Voice) -> Ended:
    try:
        renderer.render(message.requests, lambda index, image: voice.say(packed(index, image)))
    except LatheError as error:
        return Ended(error)
    except Exception as error:  # noqa: BLE001 - the other process decides what to do about it
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


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, EOFError):
        main()
    os._exit(0)  # nothing is left to be written, and libraries take seconds to be taken down
