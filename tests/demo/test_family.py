"""The shipped parts: put together as they were, and every damage told."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from demo.conftest import sha256
from loralathe.demo import unpack_family
from loralathe.demo.family import DATA_VARIABLE, MANIFEST, find_family
from loralathe.errors import InputError, MachineError


def test_four_files_with_the_listed_content(parts: Path, tmp_path: Path) -> None:
    family = find_family(parts)
    files = unpack_family(tmp_path / "out", family)
    assert [path.name for path in files] == [
        "baseA.safetensors", "baseB.safetensors", "hina.safetensors", "sailor.safetensors",
    ]  # fmt: skip
    for path in files:
        listed = family.bases[path.name][1] if path.name in family.bases else family.parts[path.name]
        assert sha256(path) == listed
    assert set(load_file(files[0])) == {"text", "unet"}
    assert (tmp_path / "out/hina.safetensors").read_bytes() == (parts / "hina.safetensors").read_bytes()


def test_what_is_there_stays(parts: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in unpack_family(tmp_path / "out", find_family(parts))}
    after = {path: path.stat().st_mtime_ns for path in unpack_family(tmp_path / "out", find_family(parts))}
    assert before == after


def test_an_interrupted_run_is_completed(parts: Path, tmp_path: Path) -> None:
    files = unpack_family(tmp_path / "out", find_family(parts))
    files[1].unlink()
    unpack_family(tmp_path / "out", find_family(parts))
    assert files[1].is_file()


@pytest.mark.parametrize("name", ["shared.safetensors", "unet-b.safetensors", "hina.safetensors"])
def test_a_missing_part_is_named(parts: Path, tmp_path: Path, name: str) -> None:
    (parts / name).unlink()
    with pytest.raises(MachineError, match="missing") as caught:
        unpack_family(tmp_path / "out", find_family(parts))
    assert name in str(caught.value)
    assert "install loralathe again" in str(caught.value)


@pytest.mark.parametrize("name", ["shared.safetensors", "hina.safetensors", "judge.safetensors"])
def test_one_flipped_bit_is_noticed(parts: Path, name: str) -> None:
    data = bytearray((parts / name).read_bytes())
    data[-1] ^= 1
    (parts / name).write_bytes(data)
    with pytest.raises(MachineError, match="damaged"):
        find_family(parts).part(name)


def test_a_base_that_comes_out_otherwise_is_removed(parts: Path, tmp_path: Path) -> None:
    manifest = parts / MANIFEST
    digest = find_family(parts).bases["baseA.safetensors"][1]
    manifest.write_text(manifest.read_text().replace(digest, "0" * 64))
    with pytest.raises(MachineError, match="another content than the shipped"):
        unpack_family(tmp_path / "out", find_family(parts))
    assert not (tmp_path / "out/baseA.safetensors").exists()


def test_another_file_in_the_way_is_kept(parts: Path, tmp_path: Path) -> None:
    own = load_file(parts / "unet-a.safetensors")
    (tmp_path / "out").mkdir()
    save_file(own, tmp_path / "out/baseA.safetensors")
    before = (tmp_path / "out/baseA.safetensors").read_bytes()
    with pytest.raises(InputError, match="another file"):
        unpack_family(tmp_path / "out", find_family(parts))
    assert (tmp_path / "out/baseA.safetensors").read_bytes() == before


def test_no_family_and_a_damaged_list(parts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(MachineError, match="not in this installation"):
        find_family()
    monkeypatch.setenv(DATA_VARIABLE, str(parts))
    assert find_family().folder == parts
    for text in ("{", "[]", '{"parts": {}}', '{"parts": {}, "bases": {"a": 1}, "adapters": [], "judge": ""}'):
        (parts / MANIFEST).write_text(text)
        with pytest.raises(MachineError, match="list of the tiny family's parts is damaged"):
            find_family()
