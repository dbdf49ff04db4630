"""Kills, signals and full disks: the output is whole or absent, and nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from robustness import kills
from robustness.forkserver import ForkServer, open_forkserver
from robustness.workdir import contents, write_flux_inputs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and POSIX signals")

MERGE = "A + 0.7*lora + 0.5*(B - A)"
EXTRACT = "extract(B - A, rank=4)"
OUT = "out.safetensors"


@pytest.fixture(scope="module")
def forkserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with open_forkserver(tmp_path_factory.mktemp("cache")) as opened:
        yield opened


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SD 1.5 files of 8 MB: writing takes long enough to be hit."""
    folder = tmp_path_factory.mktemp("models")
    first = tiny_checkpoint("sd1", seed=1)
    write_safetensors(folder / "A.safetensors", first)
    write_safetensors(folder / "B.safetensors", second_checkpoint(first, 1e-2, 2))
    write_safetensors(folder / "lora.safetensors", tiny_lora("sd1", rank=4, alpha=2.0, seed=3))
    return folder


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def finished(
    forkserver: ForkServer, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, float]:
    """The output of an undisturbed merge, and the seconds it takes."""
    return undisturbed(forkserver, models, tmp_path_factory.mktemp("finished") / "models")


def undisturbed(forkserver: ForkServer, models: Path, folder: Path) -> tuple[bytes, float]:
    shutil.copytree(models, folder)
    forkserver.run(folder, MERGE, out="first.safetensors")
    started = time.monotonic()
    assert forkserver.run(folder, MERGE)["code"] == 0
    return (folder / OUT).read_bytes(), time.monotonic() - started


@pytest.fixture(scope="module")
def few_finished(
    forkserver: ForkServer, few_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, float]:
    """As `finished`, of these."""
    return undisturbed(forkserver, few_models, tmp_path_factory.mktemp("finished") / "few")


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == ".part"]


def kill_many(
    forkserver: ForkServer, folder: Path, finished: tuple[bytes, float], count: int, seed: int
) -> Counter[str]:
    """Kill `count` merges at random moments; how they were found. The last run is left alone."""
    whole, seconds = finished
    before = contents(folder)
    found: Counter[str] = Counter()
    draw = random.Random(seed)
    for _ in range(count):
        pid = forkserver.start(folder, MERGE)
        time.sleep(draw.uniform(0.0, 1.1 * seconds))
        with contextlib.suppress(ProcessLookupError):  # it was done before
            os.kill(pid, signal.SIGKILL)
        forkserver.wait()
        parts = leftovers(folder)
        assert len(parts) <= 1, "each run removes what the one before it left"
        if (folder / OUT).exists():
            assert (folder / OUT).read_bytes() == whole
            (folder / OUT).unlink()
            found["whole"] += 1
        else:
            found["writing" if parts else "planning"] += 1
    assert forkserver.run(folder, MERGE) == {"code": 0}
    assert (folder / OUT).read_bytes() == whole
    (folder / OUT).unlink()
    assert contents(folder) == before
    return found


@pytest.mark.slow
def test_killed_three_times(forkserver: ForkServer, few: Path, few_finished: tuple[bytes, float]) -> None:
    kill_many(forkserver, few, few_finished, 3, seed=5)


@pytest.mark.long
def test_a_few_kills_of_everything(forkserver: ForkServer, tmp_path: Path) -> None:
    """`make kills` takes a thousand; what it judges is in `kills`."""
    found = kills.kill_many(forkserver, tmp_path, 2, seed=3, write=write_flux_inputs)
    assert sum(counts.total() - counts["run after"] for counts in found.values()) == 2


@pytest.mark.slow
def test_killed_fifty_times(forkserver: ForkServer, folder: Path, finished: tuple[bytes, float]) -> None:
    found = kill_many(forkserver, folder, finished, 50, seed=50)
    assert found["planning"] > 2, found
    assert found["writing"] > 5, found


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("trap", "whole"),
    [
        (("ftruncate", 1, "before"), False),
        (("ftruncate", 1, "after"), False),
        (("pwrite", 1, "after"), False),
        (("pwrite", 50, "after"), False),
        (("fsync", 1, "before"), False),
        (("fsync", 1, "after"), False),
        (("link", 1, "before"), False),
        (("link", 1, "after"), True),
        (("unlink", 1, "after"), True),
        (("fsync", 2, "before"), True),
        (("fsync", 2, "after"), True),
    ],
)
def test_killed_in_every_phase(
    forkserver: ForkServer,
    few: Path,
    few_finished: tuple[bytes, float],
    trap: tuple[str, int, str],
    whole: bool,
) -> None:
    before = contents(few)
    assert forkserver.run(few, MERGE, trap=trap) == {"code": -signal.SIGKILL}
    assert (few / OUT).exists() == whole
    if whole:
        assert (few / OUT).read_bytes() == few_finished[0]
    again = forkserver.run(few, MERGE)
    assert again.get("error") == ("InputError" if whole else None), again
    assert (few / OUT).read_bytes() == few_finished[0]
    (few / OUT).unlink()
    assert contents(few) == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_replaces(
    forkserver: ForkServer, few: Path, few_finished: tuple[bytes, float], when: str
) -> None:
    (few / OUT).write_text("the old one")
    assert forkserver.run(few, MERGE, force=True, trap=("replace", 1, when))["code"] == -signal.SIGKILL
    if when == "before":
        assert (few / OUT).read_text() == "the old one"
    assert forkserver.run(few, MERGE, force=True) == {"code": 0}
    assert (few / OUT).read_bytes() == few_finished[0]
    assert not leftovers(few)


@pytest.mark.parametrize("trap", [("pwrite", 50, "after"), ("fsync", 1, "before")])
def test_a_killed_extraction(forkserver: ForkServer, few: Path, trap: tuple[str, int, str]) -> None:
    before = contents(few)
    assert forkserver.run(few, EXTRACT, trap=trap)["code"] == -signal.SIGKILL
    assert not (few / OUT).exists()
    assert forkserver.run(few, EXTRACT) == {"code": 0}
    (few / OUT).unlink()
    assert contents(few) == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "formula"),
    [
        (signal.SIGTERM, MERGE),
        (signal.SIGTERM, EXTRACT),
        (signal.SIGINT, MERGE),
        (signal.SIGINT, EXTRACT),
        (signal.SIGHUP, MERGE),
        (signal.SIGQUIT, EXTRACT),
        (signal.SIGXCPU, MERGE),
    ],
)
def test_a_signal_leaves_nothing(
    forkserver: ForkServer, folder: Path, formula: str, number: signal.Signals
) -> None:
    before = contents(folder)
    for _ in range(20):  # on a busy machine the run may be over before the signal comes
        pid = forkserver.start(folder, formula, out=f"new/{OUT}")
        wait_until_it_writes(pid, folder)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        ended = forkserver.wait()
        if not (folder / "new" / OUT).exists():
            break
        shutil.rmtree(folder / "new")
    assert ended == {"code": -number}
    assert contents(folder) == before


def wait_until_it_writes(pid: int, folder: Path) -> None:
    """Until the process has a file open that it writes, a nameless spool or a temporary file, or is over."""
    handles = Path(f"/proc/{pid}/fd")
    while is_alive(pid):
        with contextlib.suppress(OSError):  # files are closed, and processes end, while one looks
            opened = [os.readlink(handle) for handle in handles.iterdir()] if handles.exists() else []
            written = [name for name in opened if ".part" in name or "(deleted)" in name]
            if any(name.startswith(str(folder)) for name in written) or leftovers(folder):
                return
        time.sleep(0.002)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("formula", [MERGE, EXTRACT])
@pytest.mark.parametrize("limit", [1, 20_000])
def test_a_disk_that_takes_no_more(forkserver: ForkServer, few: Path, formula: str, limit: int) -> None:
    before = contents(few)
    assert forkserver.run(few, formula, limit=limit) == {
        "code": 0,
        "error": "MachineError",
        "text": "the file is larger than this disk or this account allows\n"
        f"  where: DIR/{OUT}\n"
        "  fix:   FAT32 disks end at 4 GiB: write to another disk; else raise the limit (ulimit -f)",
    }
    assert contents(few) == before
