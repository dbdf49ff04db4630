"""A disk that fails at any call: the error says so, inputs stay, and no part of an output is left.

CI draws some of the calls; `make faults` (slow) takes every one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from robustness.forkserver import ForkServer, open_forkserver
from robustness.workdir import contents

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

MERGE = {"formula": "A + 0.7*lora"}
EXTRACT = {"formula": "extract(B - A, rank=2)"}
TWO = {"job": "two outputs"}
GRID = {"job": "grid"}
JOBS = {"merge": MERGE, "extraction": EXTRACT, "two outputs": TWO, "grid": GRID}
FULL = r"the disk is full \([\d,]+ bytes free\)\n  where: DIR/.+\n  fix:   free some space, or write to .+"
BROKEN = r"the file could not be (written|read): Input/output error\n  where: DIR/.+\n  fix:   .+"
SAMPLE = 2
"""Calls of one kind that CI takes: the first, and one at random."""


@pytest.fixture(scope="module")
def forkserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with open_forkserver(tmp_path_factory.mktemp("cache")) as opened:
        yield opened


def calls_of(forkserver: ForkServer, job: dict[str, str], folder: Path) -> dict[str, int]:
    """How often an undisturbed run calls what may fail; its outputs are removed."""
    before = set(contents(folder))
    told = forkserver.run(folder, **job, count=True)
    assert told["code"] == 0
    forget(folder, before)
    return told["calls"]  # type: ignore[return-value]


def forget(folder: Path, before: set[str]) -> None:
    for name in sorted(set(contents(folder)) - before, reverse=True):
        path = folder / name
        path.rmdir() if path.is_dir() else path.unlink()


def check(forkserver: ForkServer, job: dict[str, str], folder: Path, fault: tuple[str, int, str]) -> str:
    """One run with a fault; "failed" or, where another way was found, "done"."""
    before = contents(folder)
    told = forkserver.run(folder, **job, fault=fault)
    assert told["code"] == 0, (fault, told)
    now = contents(folder)
    if "error" not in told:
        # Blocks taken in advance, a copy inside the kernel: what refuses is done without.
        assert fault[0] in ("copy_file_range", "posix_fallocate", "unlink", "open"), (fault, told)
        assert not [name for name in now if name.endswith((".part", ".tmp"))]
        forget(folder, set(before))
        return "done"
    assert told["error"] == "MachineError", (fault, told)
    pattern = FULL if fault[2] in ("ENOSPC", "EDQUOT") else BROKEN
    assert re.fullmatch(pattern, str(told["text"])), (fault, told["text"])
    assert {name: now.get(name) for name in before} == before, fault
    if job is not GRID:
        assert now == before, fault
        return "failed"
    left = [name for name in now if name.endswith(".tmp")]
    assert not left, (fault, left)
    forget(folder, set(before))
    return "failed"


def faults_of(calls: dict[str, int], code: str, draw: Random | None) -> list[tuple[str, int, str]]:
    """Every call, or a few of each kind."""
    found = []
    for name, count in sorted(calls.items()):
        if code != "EIO" and name in ("preadv", "unlink", "fsync", "replace", "rename"):
            continue  # a full disk does not refuse these
        numbers = list(range(1, count + 1))
        if draw is not None and count > SAMPLE:
            numbers = [1, draw.randint(2, count)]
        found += [(name, number, code) for number in numbers]
    return found


@pytest.mark.quick(2)
@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("name", JOBS)
@pytest.mark.long
def test_some_calls_fail(forkserver: ForkServer, few: Path, name: str, code: str) -> None:
    calls = calls_of(forkserver, JOBS[name], few)
    if code == "EIO":  # what a full disk refuses has its turn there
        calls = {call: count for call, count in calls.items() if call not in ("ftruncate", "open", "link")}
    ends = {check(forkserver, JOBS[name], few, fault) for fault in faults_of(calls, code, Random(name))}
    assert "failed" in ends


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EIO"])
@pytest.mark.parametrize("name", JOBS)
def test_every_call_fails(forkserver: ForkServer, folder: Path, name: str, code: str) -> None:
    faults = faults_of(calls_of(forkserver, JOBS[name], folder), code, None)
    ends = [check(forkserver, JOBS[name], folder, fault) for fault in faults]
    print(f"{name}, {code}: {len(faults)} faults, {ends.count('failed')} refused, {ends.count('done')} done")


def test_a_full_disk_keeps_what_was_to_be_replaced(forkserver: ForkServer, few: Path) -> None:
    (few / "out.safetensors").write_bytes(b"the old one")
    before = contents(few)
    for fault in (
        ("pwrite", 5, "ENOSPC"),
        ("ftruncate", 1, "EDQUOT"),
        ("replace", 1, "EIO"),
        ("fsync", 1, "EIO"),
    ):
        told = forkserver.run(few, **MERGE, force=True, fault=fault)
        assert told.get("error") == "MachineError", (fault, told)
        assert contents(few) == before, fault


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", ["merge", "extraction", "grid"])
@pytest.mark.parametrize("disturbance", ["pieces", "signals"])
def test_short_writes_and_signals_change_nothing(
    forkserver: ForkServer, few: Path, name: str, disturbance: str
) -> None:
    job = JOBS[name]
    assert forkserver.run(few, **job)["code"] == 0
    whole = contents(few)
    forget(few, {"A.safetensors", "B.safetensors", "lora.safetensors"})
    assert forkserver.run(few, **job, **{disturbance: True}) == {"code": 0}
    assert contents(few) == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB that is nearly full of the inputs."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2304k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("name", ["merge", "extraction", "two outputs", "grid"])
def test_a_disk_that_is_really_full(forkserver: ForkServer, few: Path, small_disk: Path, name: str) -> None:
    for path in few.iterdir():
        shutil.copyfile(path, small_disk / path.name)
    room = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(max(0, room - 16_384)))
    before = contents(small_disk)
    told = forkserver.run(small_disk, **JOBS[name])
    assert told["error"] == "MachineError"
    assert re.match(r"(the disk is full \(|not enough disk space: )", str(told["text"])), told
    now = contents(small_disk)
    assert {key: now[key] for key in before} == before
    assert not [key for key in now if key.endswith((".part", ".tmp"))]
    if name != "grid":
        assert now == before
