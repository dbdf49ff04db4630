"""Where a result may be written: every refusal comes before any byte."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from loralathe.errors import InputError, MachineError
from loralathe.tensorfiles import check_output, free_space, write_text, write_whole
from tensorfiles.helpers import leftovers


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.safetensors"
    path.write_bytes(b"x")
    return path


def test_a_free_name_is_fine(tmp_path: Path, source: Path) -> None:
    check_output(tmp_path / "out.safetensors", [source], force=False)
    check_output(tmp_path / "日本 out.SAFETENSORS", [source, tmp_path / "missing"], force=False)
    assert [p.name for p in tmp_path.iterdir()] == ["in.safetensors"]


def test_existing_output_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="exists") as caught:
        check_output(path, [], force=False)
    assert "force=True" in str(caught.value)
    check_output(path, [], force=True)


@pytest.mark.parametrize("way", ["same", "symlink", "hard link", "other path", "through linked folder"])
@pytest.mark.parametrize("force", [False, True])
def test_output_that_is_an_input(tmp_path: Path, source: Path, way: str, force: bool) -> None:
    target = tmp_path / "out.safetensors"
    if way == "same":
        target = source
    elif way == "symlink":
        target.symlink_to(source)
    elif way == "hard link":
        os.link(source, target)
    elif way == "other path":
        (tmp_path / "sub").mkdir()
        target = tmp_path / "sub" / ".." / source.name
    else:
        (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
        target = tmp_path / "folder" / source.name
    with pytest.raises(InputError, match="one of the inputs"):
        check_output(target, [tmp_path / "other", source], force=force)


@pytest.mark.parametrize("name", ["out.ckpt", "out", "out.safetensors.bak", ".safetensors"])
def test_wrong_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="only safetensors"):
        check_output(tmp_path / name, [], force=True)


def test_absent_folder_and_folder_of_that_name(tmp_path: Path) -> None:
    check_output(tmp_path / "no" / "out.safetensors", [], force=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "dir.safetensors").mkdir()
    with pytest.raises(InputError, match="a folder has this name"):
        check_output(tmp_path / "dir.safetensors", [], force=True)


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root
    with pytest.raises(MachineError, match="not writable"):
        check_output(tmp_path / "out.safetensors", [], force=False)


def test_free_space_of_a_place_that_does_not_exist_yet(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = free_space(tmp_path / "a" / "b.safetensors")
    assert abs(free - status.f_bavail * status.f_frsize) < 4 << 30


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "recipe.toml"
    write_text(target, "A = '日本'\n", force=False)
    assert target.read_bytes() == "A = '日本'\n".encode()
    with pytest.raises(InputError, match="the output exists"):
        write_text(target, "new", force=False)
    with pytest.raises(InputError, match="one of the inputs"):
        write_text(target, "new", force=True, inputs=[target])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="the disk is full"):
        write_text(target, "new", force=True)
    assert target.read_text(encoding="utf-8") == "A = '日本'\n"
    assert leftovers(tmp_path) == []


def test_a_folder_that_is_absent_is_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "cells" / "1" / "x.json", b"{}")
    assert (tmp_path / "cells" / "1" / "x.json").read_bytes() == b"{}"
    write_text(tmp_path / "recipes" / "x.toml", "a", force=False)
    assert (tmp_path / "recipes" / "x.toml").read_text("utf-8") == "a"
    with pytest.raises(MachineError, match="could not be written"):
        write_whole(tmp_path / "cells" / "1" / "x.json" / "y.json", b"{}")


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the name is too long"):
        check_output(tmp_path / f"{'x' * 300}.safetensors")
    with pytest.raises(InputError, match="NUL character"):
        check_output(tmp_path / "a\0.safetensors")


def test_a_folder_that_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "stat", closed)  # the tests may run as root
    with pytest.raises(MachineError, match="Permission denied"):
        check_output(tmp_path / "out.safetensors")


def test_ctrl_c_as_soon_as_the_temporary_file_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_handle: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("loralathe.tensorfiles.temporary.try_lock", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "new" / "x.txt", b"x")
    assert not list(tmp_path.iterdir())
