"""A refusal costs at most 5 seconds of a processor and 500 MB: of the whole process, imports included.

RLIMIT_CPU ends a process that takes more time. Memory is the most that the process had in RAM (ru_maxrss):
torch alone takes gigabytes of address space, so that RLIMIT_AS would say nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from robustness.small_and_hungry import HUNGRY
from robustness.workdir import SOURCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")

SECONDS = 5
MEGABYTES = 500
ENDED = (-signal.SIGXCPU, -signal.SIGKILL)
"""How a process ends that takes more time."""
DONE = {
    "LoKr, halves swapped, norms", "LoKr, halves swapped, compare",
    "50,000 empty tensors", "alternatives of a prompt", "switches of a prompt", "brackets of a prompt",
    "brackets of a prompt, one closed", "tags of a prompt",
}  # fmt: skip
"""Within the bounds: not refused, and not dear."""
EITHER = {"discard, alternatives"}
"""Refused where it takes more than two seconds, which depends on the processor."""

MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""Run by a small process: a child's ru_maxrss begins with the memory of the process that starts it."""


@dataclass(frozen=True)
class Ended:
    """How a process ended; seconds of a processor, megabytes at its peak."""

    code: int
    text: str
    seconds: float
    megabytes: float


def lathe(words: list[str], folder: Path) -> Ended:
    """The command in a process of its own."""
    return run([sys.executable, "-m", "loralathe.cli", *words], folder)


def run(command: list[str], folder: Path, seconds: int = SECONDS) -> Ended:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    limited = ["sh", "-c", f'ulimit -t {seconds}; exec "$@"', "sh", *command]
    told = subprocess.run(
        [sys.executable, "-ISc", MEASURE, *limited], cwd=folder, env=environment, capture_output=True,
        stdin=subprocess.DEVNULL, check=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    *_, code, seconds, kilobytes = told.stdout.split()
    return Ended(int(code), told.stderr, float(seconds), int(kilobytes) / 1024)


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", HUNGRY)
@pytest.mark.long
def test_what_a_refusal_costs(folder: Path, name: str) -> None:
    words = HUNGRY[name](folder)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    ended = lathe(words, folder)
    assert ended.code not in ENDED, f"more than {SECONDS} seconds"
    if name not in EITHER:
        assert ended.code == (0 if name in DONE else 2), ended.text[-2000:]
    assert ended.megabytes < MEGABYTES, ended
    if ended.code:
        assert ended.text.count("lathe: error: ") == 1, ended.text[-2000:]
        assert len(ended.text) < 20_000
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert after == before
    print(f"{name:32} {ended.seconds:5.1f} s {ended.megabytes:5.0f} MB")


@pytest.mark.long
def test_the_limits_hold(tmp_path: Path) -> None:
    """What turns for ever is ended, and what takes memory is seen."""
    program = "x = bytearray(520 << 20)\nwhile True: x[0] = 1"
    ended = run([sys.executable, "-Sc", program], tmp_path, seconds=4)
    assert ended.code in ENDED
    assert ended.megabytes > MEGABYTES
