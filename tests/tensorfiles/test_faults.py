"""Disks that fill up, signals, kills: a target is whole or absent, and nothing else stays behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from loralathe.errors import MachineError
from loralathe.tensorfiles import (
    AdapterWriter,
    CheckpointWriter,
    TensorSpec,
    atomic,
    positional,
    temporary,
    writers,
)
from tensorfiles.helpers import leftovers

SOURCE = Path(__file__).resolve().parents[2] / "src"
SPECS = [TensorSpec("t", "U8", (1 << 16,))]

PRELUDE = """
import os, signal, sys, time
from pathlib import Path
from loralathe.errors import MachineError
from loralathe.tensorfiles import AdapterWriter, CheckpointWriter, TensorSpec
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup and background jobs start with these ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
path = Path(sys.argv[1])
writer = CheckpointWriter(path, [TensorSpec("t", "U8", (1 << 16,))], {})
writer.write("t", bytes(1000))
spool = AdapterWriter(path.with_name("adapter.safetensors"), {})
spool.add("a", "U8", (3,), b"abc")
"""
WAIT = """
print("ready", flush=True)
while True:
    time.sleep(0.1)  # Python acts on a signal that comes just before a sleep only after it
"""


@pytest.fixture(autouse=True)
def scarce_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every disk counts as nearly full, so that blocks are taken before the work."""
    monkeypatch.setattr(atomic, "SCARCE", 1 << 40)


def start(code: str, target: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def stop(process: subprocess.Popen[str], number: signal.Signals) -> int:
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=300)
    return process.returncode


def write_whole(target: Path) -> None:
    with CheckpointWriter(target, SPECS, {}) as writer:
        writer.write("t", bytes(1 << 16))
        writer.commit()


def write_adapter(target: Path) -> None:
    with AdapterWriter(target, {}) as writer:
        writer.add("a", "U8", (3,), b"abc")
        writer.commit()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_nothing(tmp_path: Path, number: signal.Signals) -> None:
    code = stop(start(PRELUDE + WAIT, tmp_path / "x.safetensors"), number)
    assert code == -number
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_that_is_stopped_keeps_its_parents_file(tmp_path: Path) -> None:
    code = """
    heard, said = os.pipe()
    child = os.fork()
    if not child:
        os.write(said, b"!")  # before this, a signal would be lost in Python's own work after a fork
        while True:
            time.sleep(0.1)  # Python acts on a signal that comes just before a sleep only after it
    os.read(heard, 1)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    writer.write("t", bytes((1 << 16) - 1000), 1000)
    writer.commit()
    """
    with start(PRELUDE + textwrap.dedent(code), tmp_path / "x.safetensors") as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_handlers_of_others_are_left_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    mine = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        write_whole(tmp_path / "x.safetensors")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, mine)
    write_whole(tmp_path / "y.safetensors")
    assert signal.getsignal(signal.SIGTERM) == before


def test_kill_leaves_one_file_that_the_next_run_cleans_up(tmp_path: Path) -> None:
    target = tmp_path / "x.safetensors"
    assert stop(start(PRELUDE + WAIT, target), signal.SIGKILL) == -signal.SIGKILL
    assert len(leftovers(tmp_path)) == len(list(tmp_path.iterdir())) == 1
    write_whole(tmp_path / "other.safetensors")
    assert len(leftovers(tmp_path)) == 1  # another target's is not ours to remove
    write_whole(target)
    assert not leftovers(tmp_path)


def test_a_living_writers_file_is_never_removed(tmp_path: Path) -> None:
    target = tmp_path / "x.safetensors"
    with CheckpointWriter(target, SPECS, {}) as first:
        first.write("t", bytes(1 << 16))
        assert temporary.remove_stale(target) == []
        with CheckpointWriter(target, SPECS, {}):
            assert len(leftovers(tmp_path)) == 2
        assert len(leftovers(tmp_path)) == 1
        first.commit()
    assert target.stat().st_size > 1 << 16


def test_lock_lost_between_creation_and_lock_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = temporary.try_lock, []

    def steal_once(fd: int) -> bool:
        if not tries:
            for path in tmp_path.glob(".lathe-*"):
                path.unlink()
        tries.append(fd)
        return real(fd)

    monkeypatch.setattr(temporary, "try_lock", steal_once)
    write_whole(tmp_path / "x.safetensors")
    assert len(tries) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(fd: int) -> bool:
        raise OSError(errno.ENOLCK, "no locks")

    target = tmp_path / "x.safetensors"
    assert stop(start(PRELUDE + WAIT, target), signal.SIGKILL) < 0
    monkeypatch.setattr(temporary, "try_lock", no_locks)
    write_whole(target)
    assert len(leftovers(tmp_path)) == 1  # kept: whose it is cannot be known


def full(*args: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["posix_fallocate", "ftruncate", "pwrite", "fsync", "link"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(os, call, full)
    with pytest.raises(MachineError, match="disk is full") as caught:
        write_whole(tmp_path / "x.safetensors")
    assert caught.value.exit_code == 3
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "pwritev"), reason="no pwritev here")
def test_full_disk_under_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "LARGE", 0)
    monkeypatch.setattr(positional._PastCache, "possible", True)
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(MachineError, match="disk is full"):
        write_whole(tmp_path / "x.safetensors")
    assert positional._PastCache.possible
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["pwrite", "posix_fallocate", "fsync"])
def test_full_disk_under_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(os, call, full)
    with pytest.raises(MachineError, match="disk is full"):
        write_adapter(tmp_path / "x.safetensors")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_disk_that_cannot_preallocate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*args: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    write_whole(tmp_path / "x.safetensors")


@pytest.mark.parametrize("preallocates", [True, False])
def test_a_real_limit_on_file_size(tmp_path: Path, preallocates: bool) -> None:
    drop = "" if preallocates else "del os.posix_fallocate; os.ftruncate = lambda fd, size: None"
    code = f"""
import os, resource, sys
from loralathe.errors import MachineError
from loralathe.tensorfiles import CheckpointWriter, TensorSpec
{drop}
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with CheckpointWriter(sys.argv[1], [TensorSpec("t", "U8", (1 << 16,))], {{}}) as writer:
        for at in range(0, 1 << 16, 4096):
            writer.write("t", bytes(4096), at)
        writer.commit()
except MachineError as error:
    print(error)
"""
    with start(code, tmp_path / "x.safetensors") as process:
        output, errors = process.communicate(timeout=300)
    assert "larger than this disk or this account allows" in output, errors
    assert list(tmp_path.iterdir()) == []
