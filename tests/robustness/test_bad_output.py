"""Places that must not or cannot be written: refused before any work, with everything left as it was."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loralathe.engine import RunOptions, run_recipe
from loralathe.errors import InputError, MachineError
from loralathe.language import Save, make_recipe
from loralathe.progress import Progress
from loralathe.tensorfiles import StagedFile
from robustness.workdir import MERGE, contents, refused, run_in

FORCE = RunOptions(threads=1, force=True)
EXISTS = ("the output exists", "DIR/out.safetensors", "choose another name, or replace it with force=True")
posix = pytest.mark.skipif(os.name != "posix", reason="links and permissions as POSIX has them")


@pytest.mark.parametrize("formula", [MERGE, "extract(B - A, rank=2)"])
def test_an_output_that_exists(folder: Path, formula: str) -> None:
    (folder / "out.safetensors").write_text("somebody's work")
    with refused(folder, InputError) as fault:
        run_in(folder, formula)
    assert fault.says(folder) == EXISTS
    run_in(folder, formula, options=FORCE)
    assert (folder / "out.safetensors").stat().st_size > 1000


@posix
def test_the_second_name_that_a_kill_left_goes_before_the_output_is_refused(folder: Path) -> None:
    run_in(folder)
    staged = StagedFile(folder / "out.safetensors", replace=True)
    os.close(staged.fd)
    (left,) = folder.glob(".lathe-*.part")
    left.unlink()
    os.link(folder / "out.safetensors", left)
    with pytest.raises(InputError, match="the output exists"):
        run_in(folder)
    assert not left.exists()


@pytest.mark.parametrize("name", ["A", "lora"])
def test_an_output_that_is_an_input(folder: Path, name: str) -> None:
    with refused(folder, InputError) as fault:
        run_in(folder, out=f"{name}.safetensors", options=FORCE)
    assert fault.says(folder) == (
        "the output is one of the inputs",
        f"DIR/{name}.safetensors",
        "choose another output name",
    )


@posix
@pytest.mark.parametrize("formula", [MERGE, "extract(A - B, rank=2)"])
@pytest.mark.parametrize("make_link", [os.link, os.symlink])
def test_an_output_that_is_an_input_by_a_link(folder: Path, formula: str, make_link: object) -> None:
    make_link(folder / "A.safetensors", folder / "out.safetensors")  # type: ignore[operator]
    with refused(folder, InputError) as fault:
        run_in(folder, formula, options=FORCE)
    assert fault.says(folder) == (
        "the output is one of the inputs",
        "DIR/out.safetensors is the same file as DIR/A.safetensors",
        "choose another output name",
    )


@posix
def test_an_output_that_is_an_input_through_a_linked_folder(folder: Path) -> None:
    (folder / "same").symlink_to(folder, target_is_directory=True)
    with refused(folder, InputError) as fault:
        run_in(folder, out="same/A.safetensors", options=FORCE)
    assert fault.says(folder)[0] == "the output is one of the inputs"


@posix
def test_a_dangling_link_counts_as_existing(folder: Path) -> None:
    (folder / "out.safetensors").symlink_to("nowhere.safetensors")
    with refused(folder, InputError) as fault:
        run_in(folder)
    assert fault.says(folder) == EXISTS


def test_a_folder_of_the_name(folder: Path) -> None:
    (folder / "out.safetensors").mkdir()
    with refused(folder, InputError) as fault:
        run_in(folder, options=FORCE)
    assert fault.says(folder) == (
        "a folder has this name",
        "DIR/out.safetensors",
        "choose another output name",
    )


@pytest.mark.quick(1)
@pytest.mark.parametrize("formula", [MERGE, "extract(B - A, rank=2)"])
def test_a_folder_that_is_absent_is_made(folder: Path, formula: str) -> None:
    run_in(folder, formula, out="new/er/out.safetensors")
    run_in(folder, formula)
    assert (folder / "new/er/out.safetensors").read_bytes() == (folder / "out.safetensors").read_bytes()


def test_folders_that_a_failed_run_made_go_again(folder: Path) -> None:
    with refused(folder, InputError):
        run_in(folder, "A + 1e30*lora", out="new/er/out.safetensors")
    assert not (folder / "new").exists()
    (folder / "old").mkdir()
    with refused(folder, InputError):
        run_in(folder, "A + 1e30*lora", out="old/new/out.safetensors")
    assert list((folder / "old").iterdir()) == []


def test_a_file_where_a_folder_would_be(folder: Path) -> None:
    (folder / "no").write_text("somebody's work")
    with refused(folder, InputError) as fault:
        run_in(folder, out="no/such/out.safetensors")
    assert fault.says(folder) == ("this is a file, not a folder", "DIR/no", "choose another output name")


@pytest.mark.parametrize("name", ["out.ckpt", "out.pt", "out"])
def test_another_format(folder: Path, name: str) -> None:
    with refused(folder, InputError) as fault:
        run_in(folder, out=name)
    assert fault.says(folder) == (
        "only safetensors files are written",
        f"DIR/{name}",
        "name it 'out.safetensors'",
    )


def test_two_steps_in_one_file(folder: Path) -> None:
    inputs = {name: folder / f"{name}.safetensors" for name in ("A", "B")}
    steps = {"x": "A + 0.5*(B - A)", "y": "extract(B - A, rank=2)"}
    saves = [Save(step, folder / "out.safetensors") for step in steps]
    with refused(folder, InputError) as fault:
        run_recipe(make_recipe(inputs=inputs, steps=steps, saves=saves))
    assert fault.says(folder) == (
        "two steps are saved to one file",
        "DIR/out.safetensors: 'x', 'y'",
        None,
    )


@contextmanager
def without_root() -> Iterator[None]:
    """Root may write anywhere: be nobody for a while."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def locked(originals: Path) -> Iterator[Path]:
    """A folder that others may read and nobody may write, outside of pytest's private one."""
    place = Path(tempfile.mkdtemp())
    for file in originals.iterdir():
        shutil.copyfile(file, place / file.name)
    place.chmod(0o555)
    yield place
    place.chmod(0o755)
    shutil.rmtree(place)


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="needs a way to give up root for a while")
@pytest.mark.parametrize("formula", [MERGE, "extract(B - A, rank=2)"])
def test_a_folder_that_is_not_writable(locked: Path, formula: str) -> None:
    with without_root(), refused(locked, MachineError) as fault:
        run_in(locked, formula, options=RunOptions(threads=1, hash_inputs=False))
    assert fault.says(locked) == (
        "the folder is not writable",
        "DIR",
        "choose another folder, or change its permissions",
    )


def test_a_disk_without_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loralathe.engine.session.free_space", lambda _: 400_000)
    with refused(folder, MachineError) as fault:
        run_in(folder)
    assert fault.says(folder) == (
        "not enough disk space: 0.5 MB are needed, 0.4 MB are free",
        "DIR",
        "free some space, or choose another folder with output",
    )


def test_a_failed_run_does_not_wait_for_hashes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing 7 GB takes a minute; here it takes for ever, unless it is stopped."""
    ended = []

    def slow_hash(path: Path, *, progress: Progress) -> str:
        try:
            with progress.task("hashing") as task:
                while True:
                    task.advance()
                    time.sleep(0.01)
        finally:
            ended.append(path)

    monkeypatch.setattr("loralathe.engine.results.content_hash", slow_hash)
    with refused(folder, InputError):
        run_in(folder, "A + 1e30*lora")
    assert len(ended) == 1, "one was under way, the other had not begun"


def test_a_failure_in_one_output_leaves_no_other(folder: Path) -> None:
    """All or nothing, also when the fault shows only in the last output's numbers."""
    inputs = {name: folder / f"{name}.safetensors" for name in ("A", "B", "lora")}
    steps = {"fine": "extract(B - A, rank=2)", "large": "A + 1e30*lora"}
    saves = [Save(step, folder / f"{step}.safetensors") for step in steps]
    with refused(folder, InputError):
        run_recipe(make_recipe(inputs=inputs, steps=steps, saves=saves))


def test_a_refused_run_leaves_the_old_output(folder: Path) -> None:
    run_in(folder)
    before = contents(folder)
    with refused(folder, InputError):
        run_in(folder, "A + 1e30*lora", options=FORCE)
    assert contents(folder) == before
