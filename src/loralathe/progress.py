"""Progress as events: the work reports what it does, a sink decides who sees it, a token stops it.

The work calls `Progress.task(...)`; sinks are silent, bars on a terminal, JSON lines, or a queue. Wherever
the work reports something, it also looks whether it was cancelled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING, Literal, Protocol

from loralathe.errors import Message, json_text, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

__all__ = [
    "BarSink", "CallableSink", "Cancel", "Cancelled", "CellEvent", "Event", "JsonSink", "Progress",
    "SilentSink", "Sink",
]  # fmt: skip

Kind = Literal["start", "advance", "end", "message", "cell"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `done` and `total` count `unit`s ("B" is bytes); total None is unknown."""

    kind: Kind
    task: str
    done: int = 0
    total: int | None = None
    unit: str = "B"
    text: str = ""


@dataclass(frozen=True, slots=True)
class CellEvent(Event):
    """A finished picture: which of them it is, its file, and the values of the axes that made it."""

    index: int = 0
    path: str = ""
    labels: tuple[str, ...] = ()


class Cancelled(KeyboardInterrupt):
    """The work was cancelled. As after Ctrl-C, outputs are whole or absent, and finished pictures stay."""


class Cancel:
    """A token that stops work: call `cancel()` in any thread, and the work raises `Cancelled` soon."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise `Cancelled` once `cancel` was called."""
        if self._event.is_set():
            raise Cancelled


class Sink(Protocol):
    """Where events go. Called from one thread at a time."""

    def emit(self, event: Event) -> None: ...


class SilentSink:
    """Drops every event."""

    def emit(self, event: Event) -> None:
        return


class CallableSink:
    """Hands every event to a function, e.g. `queue.put`."""

    def __init__(self, receive: Callable[[Event], None]) -> None:
        self._receive = receive

    def emit(self, event: Event) -> None:
        self._receive(event)


class JsonSink:
    """One JSON object a line; `advance` events are thinned to a few a second."""

    def __init__(self, stream: IO[str], min_interval_s: float = 0.25) -> None:
        self._stream = stream
        self._interval = min_interval_s
        self._last = 0.0

    def emit(self, event: Event) -> None:
        now = time.monotonic()
        if event.kind == "advance" and now - self._last < self._interval:
            return
        self._last = now
        print(
            json_text({"event": event.kind} | asdict(event)),
            file=self._stream,
            flush=True,
        )


class BarSink:
    """Rich progress bars with rate and time left, on stderr; shown once a task outlives half a second.

    A task around it is shown above it, though nothing of that one may be done yet.
    """

    def __init__(self, delay_s: float = 0.5) -> None:
        self._delay = delay_s
        self._bars: RichProgress | None = None
        self._ids: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, Event]] = {}

    def emit(self, event: Event) -> None:
        if event.kind == "message":
            self._print(event.text)
        elif event.kind == "start":
            self._started[event.task] = (time.monotonic(), event)
        elif event.kind == "advance":
            self._advance(event)
        elif event.kind == "end":
            self._end(event)

    def _print(self, text: str) -> None:
        from rich.console import Console

        console = self._bars.console if self._bars else Console(stderr=True)
        console.print(printable(text), markup=False, highlight=False)

    def _advance(self, event: Event) -> None:
        if event.task not in self._ids:
            since, _ = self._started.setdefault(event.task, (0.0, event))
            if time.monotonic() - since < self._delay:
                return
            for name, (_, start) in self._started.items():  # in the order in which they began
                if name not in self._ids:
                    self._ids[name] = self._live().add_task(name, total=start.total, unit=start.unit)
        bars = self._bars
        if bars is not None:
            bars.update(self._ids[event.task], completed=event.done, total=event.total)

    def _live(self) -> RichProgress:
        if self._bars is None:
            from rich import progress as rp
            from rich.console import Console

            self._bars = rp.Progress(
                rp.TextColumn("{task.description}"),
                rp.BarColumn(),
                *_amount_columns(),
                rp.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self._bars

    def _end(self, event: Event) -> None:
        self._started.pop(event.task, None)
        bar = self._ids.pop(event.task, None)
        if self._bars is not None and bar is not None:
            self._bars.remove_task(bar)
            if not self._ids:
                self._bars.stop()
                self._bars = None


def _amount_columns() -> tuple[ProgressColumn, ProgressColumn]:
    """How much is done, and how fast: in bytes or in counts, as the task's own unit says."""
    from rich import progress as rp
    from rich.text import Text

    class Amount(rp.ProgressColumn):
        in_bytes, in_counts = rp.DownloadColumn(), rp.MofNCompleteColumn()

        def render(self, task: rp.Task) -> Text:
            return (self.in_bytes if task.fields["unit"] == "B" else self.in_counts).render(task)

    class Rate(rp.ProgressColumn):
        in_bytes = rp.TransferSpeedColumn()

        def render(self, task: rp.Task) -> Text:
            return self.in_bytes.render(task) if task.fields["unit"] == "B" else Text()

    return Amount(), Rate()


class Task:
    """A piece of work under way; a context manager, `advance` may be called from any thread."""

    def __init__(self, progress: Progress, name: str, total: int | None, unit: str) -> None:
        self._progress = progress
        self.name = name
        self.total = total
        self.unit = unit
        self.done = 0

    def check(self) -> None:
        """Raise `Cancelled` if the work is to stop."""
        self._progress.cancel.check()

    def __enter__(self) -> Task:
        self.check()
        self._progress.emit(Event("start", self.name, 0, self.total, self.unit))
        return self

    def advance(self, amount: int = 1) -> None:
        self.check()
        with self._progress.lock:
            self.done += amount
            self._progress.emit(Event("advance", self.name, self.done, self.total, self.unit))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.emit(Event("end", self.name, self.done, self.total, self.unit))


class Progress:
    """What work is given to report through, and to be stopped by. `Progress()` is silent."""

    def __init__(self, sink: Sink | None = None, cancel: Cancel | None = None) -> None:
        self._sink: Sink = sink or SilentSink()
        self.cancel = cancel or Cancel()
        self.lock = threading.RLock()

    def emit(self, event: Event) -> None:
        with self.lock:
            self._sink.emit(event)

    def task(self, name: str, total: int | None = None, unit: str = "B") -> Task:
        return Task(self, name, total, unit)

    def cell(self, task: str, index: int, total: int, path: str, labels: tuple[str, ...]) -> None:
        """A picture of a study is finished, the `index`th from 0 of `total`."""
        self.emit(CellEvent("cell", task, index + 1, total, "pictures", "", index, path, labels))

    def message(self, text: str) -> None:
        self.emit(Event("message", "", text=Message(text)))
