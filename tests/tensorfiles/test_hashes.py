"""Hashes against hashlib on plain slices; the cache never lies and never fails."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loralathe.errors import InputError
from loralathe.progress import Event, Progress
from loralathe.tensorfiles import autov1, cache_folder, content_hash, hashes, legacy_hash, model_hash
from loralathe.tensorfiles.header import encode_header, parse_header
from tensorfiles.helpers import entry, raw_file

NOTHING = "e3b0c442"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LORALATHE_CACHE", str(folder))
    monkeypatch.setattr(hashes, "TICK", -1.0)  # files of tests are always new
    return folder


def model(tmp_path: Path, size: int, metadata: dict[str, str]) -> Path:
    header = {"__metadata__": metadata, "t": entry("U8", [size], 0, size)}
    return raw_file(tmp_path / "m.safetensors", header, random.Random(size).randbytes(size))


@pytest.mark.parametrize("size", [10, 0x100000, 0x108000, 0x120000])
def test_fingerprints(tmp_path: Path, size: int) -> None:
    path = model(tmp_path, size, {"ss_a": "1", "note": "x" * 1000})
    content = path.read_bytes()
    data = content[-size:]
    assert autov1(path) == sha(content[0x100000:0x110000])[:8]
    assert content_hash(path, cache=False) == sha(content)
    assert model_hash(path) == sha(data)
    header = parse_header(content[8:-size], len(content), "m")
    trained = encode_header(header.tensors.values(), {"ss_a": "1"}) + data
    assert legacy_hash(path) == sha(trained[0x100000:0x110000])[:8]
    assert (autov1(path) == NOTHING) == (size == 10)


@given(note=st.integers(0, 3000), training=st.integers(0, 3000), size=st.integers(0, 4000))
def test_legacy_hash_wherever_the_range_falls(
    tmp_path_factory: pytest.TempPathFactory, note: int, training: int, size: int
) -> None:
    """With a small range, headers before, across and behind it are all met."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "LEGACY_START", 1000)
        patch.setattr(hashes, "LEGACY_LENGTH", 500)
        path = model(tmp_path_factory.mktemp("h"), size, {"ss_a": "1" * training, "note": "x" * note})
        content = path.read_bytes()
        data = content[len(content) - size :]
        header = parse_header(content[8 : len(content) - size], len(content), "m")
        trained = encode_header(header.tensors.values(), {"ss_a": "1" * training}) + data
        assert legacy_hash(path) == sha(trained[1000:1500])[:8]


def test_missing_file_is_told(tmp_path: Path) -> None:
    model(tmp_path, 10, {})
    with pytest.raises(InputError, match="no such file") as caught:
        content_hash(tmp_path / "mm.safetensors")
    assert "'m.safetensors'" in str(caught.value)


def test_second_time_is_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model(tmp_path, 5000, {})
    first = content_hash(path)
    monkeypatch.setattr(hashes, "_hash_range", None)
    assert content_hash(path) == first
    (tmp_path / "link.safetensors").symlink_to(path)
    assert content_hash(tmp_path / "link.safetensors") == first


def test_changed_files_are_hashed_again(tmp_path: Path) -> None:
    path = model(tmp_path, 5000, {})
    first, status = content_hash(path), path.stat()
    content = path.read_bytes()[::-1]
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert content_hash(path) == sha(content) != first
    other = tmp_path / "other"
    other.write_bytes(content[::-1])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    os.replace(other, path)  # same size and time, another inode
    assert content_hash(path) == first


def test_a_date_that_was_set_back_hides_nothing(tmp_path: Path) -> None:
    path = model(tmp_path, 5000, {})
    first, status = content_hash(path), path.stat()
    content = path.read_bytes()[::-1]
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_ino) == (status.st_size, status.st_ino)
    assert content_hash(path) == sha(content) != first


def test_a_new_file_is_not_remembered(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "TICK", 3600.0)
    content_hash(model(tmp_path, 10, {}))
    assert not cache.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have names on Unix only")
def test_a_pipe_in_the_cache_is_not_waited_for(tmp_path: Path, cache: Path) -> None:
    path = model(tmp_path, 5000, {})
    first = content_hash(path)
    (place,) = (cache / "hashes").iterdir()
    place.unlink()
    os.mkfifo(place)
    assert content_hash(path) == first


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"sha256": 3}', None])
def test_damaged_cache_is_ignored_and_rewritten(tmp_path: Path, cache: Path, damage: bytes | None) -> None:
    path = model(tmp_path, 5000, {})
    first = content_hash(path)
    (place,) = (cache / "hashes").iterdir()
    good = place.read_bytes()
    if damage is None:
        damage = json.dumps(json.loads(good) | {"sha256": "g" * 64}).encode()
    place.write_bytes(damage)
    assert content_hash(path) == first
    assert [(p, p.read_bytes()) for p in (cache / "hashes").iterdir()] == [(place, good)]


def test_cache_that_cannot_be_written(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model(tmp_path, 5000, {})
    cache.write_text("a file where the folder should be")
    assert content_hash(path) == sha(path.read_bytes())
    cache.unlink()

    def read_only(*args: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", read_only)
    assert content_hash(path) == sha(path.read_bytes())
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("platform", "name", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "loralathe"),
        ("win32", "LOCALAPPDATA", "loralathe"),
        ("darwin", "HOME", "Library/Caches/loralathe"),
        ("linux", "HOME", ".cache/loralathe"),
    ],
)
def test_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, name: str, expected: str
) -> None:
    for other in ("LORALATHE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == tmp_path / expected


def test_no_home_means_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LORALATHE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setattr(Path, "home", homeless)
    path = model(tmp_path, 5000, {})
    assert cache_folder() is None
    assert content_hash(path) == sha(path.read_bytes())


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.events: list[Event] = []

        def emit(self, event: Event) -> None:
            self.events.append(event)

    recorder, path = Recorder(), model(tmp_path, 9 << 20, {})
    content_hash(path, cache=False, progress=Progress(recorder))
    last = recorder.events[-1]
    assert (last.kind, last.done, last.total) == ("end", path.stat().st_size, path.stat().st_size)
