"""How one run is measured: a fresh process and its peak of memory, files cold or warm, a copy beside it."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.machine import read_seconds
from benchmarks.make_files import ROOT

POLL = 0.01
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One run of a process.

    whole: seconds from start to exit;  work: without start-up and imports;  peak: bytes, None where unknown.
    """

    whole: float
    work: float
    peak: int | None
    facts: Mapping[str, float]


class MemoryWatch(threading.Thread):
    """The largest RssAnon of a process, looked at every 10 ms; None where the system does not tell."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self._over = threading.Event()
        self.peak: int | None = None

    def run(self) -> None:
        while not self._over.wait(POLL):
            try:
                text = self._status.read_text("ascii")
            except OSError:
                return
            for line in text.splitlines():
                if line.startswith("RssAnon:"):
                    self.peak = max(self.peak or 0, int(line.split()[1]) << 10)

    def stop(self) -> int | None:
        self._over.set()
        self.join()
        return self.peak


def run_process(arguments: Sequence[str], cache: Path) -> Run:
    """Run Python with `arguments`; RuntimeError with its words when it fails. `cache`: for content hashes."""
    source = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"LORALATHE_CACHE": str(cache), "PYTHONPATH": source}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = MemoryWatch(process.pid)
    watch.start()
    out, err = process.communicate()
    whole = time.perf_counter() - start
    peak = watch.stop()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{err or out}")
    lines = out.strip().splitlines()
    facts = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Run(whole, facts.get("work", whole), peak, facts)


def copy_seconds(source: Path, target: Path) -> float:
    """Seconds of `cp --reflink=never` and fsync; of a plain copy where cp is not GNU's."""
    start = time.perf_counter()
    done = subprocess.run(
        ["cp", "--reflink=never", str(source), str(target)], check=False, stderr=subprocess.DEVNULL
    )
    if done.returncode:
        shutil.copyfile(source, target)
    with open(target, "rb+") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def settle() -> None:
    """Let the disk finish what earlier runs left it to do."""
    if hasattr(os, "sync"):
        os.sync()


def warm(*paths: Path) -> None:
    """Bring files into the system's cache, as far as it holds them."""
    read_seconds(*paths)


def cool(*paths: Path) -> None:
    """Drop files from the system's cache, where there is a way to ask for it."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def repeat(rounds: int, seconds: float, turn: Callable[[], T]) -> list[T]:
    """Results of `turn`, taken `rounds` times or until `seconds` are spent."""
    start = time.perf_counter()
    found = [turn()]
    while len(found) < rounds and time.perf_counter() - start < seconds:
        found.append(turn())
    return found


def middle(runs: Sequence[Run]) -> Run:
    """The median of each figure; of memory, the largest."""
    peaks = [run.peak for run in runs if run.peak is not None]
    return Run(
        statistics.median(run.whole for run in runs),
        statistics.median(run.work for run in runs),
        max(peaks, default=None),
        runs[-1].facts,
    )
