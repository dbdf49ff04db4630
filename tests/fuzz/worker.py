"""A guarded process that runs cases one after the other; one that hangs or dies takes only itself along."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from fuzz.case import Case
from fuzz.sandbox import contents, lay_out
from fuzz.verdict import Outcome
from fuzz.watch import Watch

Run = Callable[[Sequence[str]], int]
"""Words to exit code; text goes to sys.stdout and sys.stderr."""
MEMORY = 2 << 30
"""Bytes of address space that a run may add to what is there when the process starts."""


def run_lathe(words: Sequence[str]) -> int:
    """`lathe WORDS` in this process."""
    from loralathe.cli import lathe

    try:
        lathe.main(list(words), prog_name="lathe")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


class Worker:
    """`run` in a child process. Whoever starts it has imported what runs need: a fork costs nothing then."""

    def __init__(self, fixtures: Path, scratch: Path, run: Run = run_lathe, seconds: float = 30) -> None:
        self._fixtures = fixtures
        self._folder = scratch / "case"
        self._cache = scratch / "cache"
        self._run = run
        self._seconds = seconds
        self._process: multiprocessing.process.BaseProcess | None = None
        self._wire: Connection | None = None

    def __call__(self, case: Case) -> Outcome:
        """Run one case in a fresh folder, which stays until the next call."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._cache.mkdir(exist_ok=True)
        lay_out(case, self._folder, self._fixtures)
        before = contents(self._folder)
        code, out, err, seen, end = self._perform(case.words)
        return Outcome(code, out, err, end, tuple(seen), before, contents(self._folder), self._folder)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _perform(self, words: tuple[str, ...]) -> tuple[int | None, str, str, list[str], str]:
        if self._process is None:
            self._start()
        assert self._wire is not None
        assert self._process is not None
        self._wire.send(words)
        try:
            if self._wire.poll(self._seconds):
                return *self._wire.recv(), ""
            end = f"no end after {self._seconds:.0f} seconds"
        except EOFError:
            self._process.join()
            end = f"the process died: {_death(self._process.exitcode or 0)}"
        self.close()
        return None, "", "", [], end

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._wire, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._run, self._folder, self._cache))
        self._process.start()
        theirs.close()


def _death(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _serve(wire: Connection, run: Run, folder: Path, cache: Path) -> None:
    """The child: runs what it is sent until it is killed."""
    os.environ |= {"LORALATHE_CACHE": str(cache), "COLUMNS": "100", "HOME": str(cache)}
    tempfile.tempdir = str(cache)
    _limit_memory()
    watch = Watch((folder, cache))
    while True:
        words = wire.recv()
        os.chdir(folder)
        out, err = _stream(), _stream()
        watch.seen.clear()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            watch.active = True
            try:
                code = run(words)
            finally:
                watch.active = False
        wire.send((code, _text(out), _text(err), list(watch.seen)))


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8", "replace")


def _limit_memory() -> None:
    """Not on systems without /proc: the time limit alone stops what grows there."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
