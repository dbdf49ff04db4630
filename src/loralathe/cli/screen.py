"""What a person sees, and what a program reads: results on stdout, progress and notes on stderr.

With --json, stdout holds JSON lines only and people's text moves to stderr.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from loralathe import (
    BarSink,
    Cancel,
    Event,
    JsonSink,
    Message,
    Progress,
    SilentSink,
    Sink,
    as_flag,
    inset,
    printable,
    readable,
)
from loralathe.cli.language import say, say_flag, say_label
from loralathe.cli.text import json_line, one_line
from loralathe.cli.wide import folded

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

TOKEN = Cancel()
"""Stops what the command does, on Ctrl-C."""
PIPE_WIDTH = 100
"""Columns when the output is no terminal, which has no width of its own."""


class Screen:
    """Where a command shows things. Rich is imported when something is shown."""

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        stream = sys.stderr if self.as_json else sys.stdout
        width = None if stream.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
        return Console(file=stream, width=width, highlight=False)

    def progress(self) -> Progress:
        """Bars on a terminal, JSON lines with --json; elsewhere the messages, as notes."""
        sink: Sink
        if self.as_json:
            sink = JsonSink(sys.stdout)
        elif self.quiet:
            sink = SilentSink()
        else:
            sink = SayingSink(BarSink()) if sys.stderr.isatty() else NoteSink(self)
        return Progress(FlagSink(sink), TOKEN)

    def event(self, name: str, /, **fields: object) -> None:
        """A JSON line on stdout, with --json only."""
        if self.as_json:
            print(json_line(name, **fields), flush=True)

    def show(self, *parts: RenderableType) -> None:
        """People's text; silent with --quiet."""
        if not self.quiet:
            for part in parts:
                self.console.print(_Printable(part), markup=False)

    def result(self, *parts: RenderableType) -> None:
        """What a command that only looks was asked for; --quiet leaves it out only where JSON has it."""
        if not (self.quiet and self.as_json):
            for part in parts:
                self.console.print(_Printable(part), markup=False)

    def verbatim(self, *lines: str) -> None:
        """Text to copy: never wrapped, however long; silent with --quiet."""
        if not self.quiet:
            for text in lines:
                self.console.out(printable(text), highlight=False)

    def note(self, text: str) -> None:
        """Something worth knowing, on stderr."""
        if not self.quiet:
            told = say("lathe: note: ") + say(Message(text).spelled(say_flag))
            tell(inset(told))


def tell(text: str) -> None:
    """A note or an error on stderr; its lines are folded where a terminal shows them."""
    width = stderr_width()
    shown = readable(text)
    print(shown if width is None else folded(shown, width), file=sys.stderr)


def stderr_width() -> int | None:
    """Columns of the terminal that shows stderr; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stderr.isatty() else None


class NoteSink:
    """Messages as notes on stderr; all else is dropped. For outputs that are no terminal."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def emit(self, event: Event) -> None:
        if event.kind == "message":
            self._screen.note(event.text)


class SayingSink:
    """Hands events on in the person's language."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def emit(self, event: Event) -> None:
        self._sink.emit(replace(event, task=say_label(event.task), text=say(event.text)))


class FlagSink:
    """Hands events on, the options that messages name spelled as flags."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def emit(self, event: Event) -> None:
        self._sink.emit(replace(event, text=Message(event.text).spelled(as_flag)) if event.text else event)


class _Printable:
    """Something to show, without the control characters that names and metadata of files may hold."""

    def __init__(self, part: RenderableType) -> None:
        self._part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        part = self._part
        if isinstance(part, str):
            part = console.render_str(say(part), markup=False)
        for text, style, control in console.render(part, options):
            yield Segment(text if control else printable(text), style, control)


def heading(text: str) -> RenderableType:
    """A line that opens a section."""
    from rich.text import Text

    return Text(one_line(say(text)), style="bold", no_wrap=True, overflow="ignore")
