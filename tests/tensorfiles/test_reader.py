"""Opening and reading: every dtype against the official library, wrong files told apart, threads."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from loralathe.errors import InputError
from loralathe.tensorfiles import (
    DTYPES,
    TensorFile,
    from_torch_dtype,
    open_tensorfile,
    positional,
    read_header,
    tensor_bytes,
    to_torch_dtype,
)
from tensorfiles.helpers import entry, raw_file

COMPUTABLE = [name for name, dtype in DTYPES.items() if dtype.torch_name]


@pytest.mark.parametrize("name", COMPUTABLE)
def test_every_dtype_reads_as_the_official_library_reads_it(tmp_path: Path, name: str) -> None:
    bits = torch.randint(0, 2 if name == "BOOL" else 256, (6, 4 * DTYPES[name].bits // 8), dtype=torch.uint8)
    tensor = bits.view(to_torch_dtype(name))
    path = tmp_path / "é 日本.safetensors"
    save_file({"t": tensor, "scalar": tensor[0, 0].clone()}, path)
    expected = load_file(path)
    with open_tensorfile(path) as file:
        assert file.header.tensors["t"].dtype == name == from_torch_dtype(tensor.dtype)
        got, want = file.read("t"), expected["t"]
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        assert tensor_bytes(got) == tensor_bytes(want)
        assert file.read("scalar").shape == ()
        assert file.read_bytes("t") == bits.numpy().tobytes()


@pytest.mark.parametrize(("name", "size"), [("F4", 2), ("F6_E2M3", 3), ("F6_E3M2", 3)])
def test_sub_byte_floats_are_known_and_sized_but_not_computed(tmp_path: Path, name: str, size: int) -> None:
    path = raw_file(tmp_path / "x.safetensors", {"w": entry(name, [4], 0, size)}, bytes(size))
    with open_tensorfile(path) as file:
        assert file.read_bytes("w") == bytes(size)
        with pytest.raises(InputError, match=name) as caught:
            file.read("w")
        assert "'w'" in str(caught.value)


def test_unknown_torch_dtype_and_unknown_name() -> None:
    with pytest.raises(InputError, match="complex128"):
        from_torch_dtype(torch.complex128)
    with pytest.raises(InputError, match="F33"):
        to_torch_dtype("F33")


def test_tensor_bytes_of_views() -> None:
    tensor = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).t()
    assert bytes(tensor_bytes(tensor)) == tensor.contiguous().view(torch.uint8).numpy().tobytes()
    assert bytes(tensor_bytes(torch.empty(0, 3))) == b""


PICKLE = pickle.dumps({"state_dict": [1, 2, 3]}, protocol=2)
CONTENTS = {
    "empty": (b"", "the file is empty"),
    "short": (b"\x02\x00", "truncated: only 2 bytes"),
    "text": (b"Dear diary, this is no model at all.", "a text file"),
    "web page": (b"<!DOCTYPE html><html>not found</html>", "a web page"),
    "png": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a picture, not a model"),
    "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01", "a picture, not a model"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
    "zip": (b"PK\x03\x04\x00\x00\x08\x08" + bytes(50), "the zip archive has no sound directory"),
    "pickle": (PICKLE + bytes(50), "a pickle that torch.save did not write"),
    "gguf": (b"GGUF\x09\x00\x00\x00" + bytes(50), "a GGUF file of version 9"),
    "noise": (b"\xff" * 64, "its header would be"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_other_files_are_told_apart_by_content(tmp_path: Path, kind: str) -> None:
    content, what = CONTENTS[kind]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_tensorfile(path)
    assert what in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("model.safetensors", "download the model file itself"),
        ("README.md", "give a model file, such as base.safetensors"),
    ],
)
def test_only_what_is_called_a_model_should_be_downloaded_again(tmp_path: Path, name: str, fix: str) -> None:
    (tmp_path / name).write_text("Dear diary, this is no model at all.")
    with pytest.raises(InputError) as caught:
        open_tensorfile(tmp_path / name)
    assert caught.value.fix == fix


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".CKPT", ".safetensors", ""])
def test_content_decides_not_the_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save({"w": torch.zeros(2)}, path)
    save_file({"w": torch.zeros(2)}, tmp_path / f"other{suffix}")
    with open_tensorfile(path) as pickled, open_tensorfile(tmp_path / f"other{suffix}") as plain:
        assert (pickled.format, plain.format) == ("pickle", "safetensors")
        assert torch.equal(pickled.read("w"), plain.read("w"))


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    for name in ("a.ckpt", "b.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(InputError, match="pickle"):
            open_tensorfile(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("length", [0x3C, 0x0A, 0x20, 0x280, 0x380, 0x480])
def test_header_lengths_that_look_like_other_formats(tmp_path: Path, length: int) -> None:
    path = raw_file(tmp_path / "x.ckpt", b"{}".ljust(length))
    assert read_header(path).data_start == 8 + length


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    raw_file(tmp_path / "animeA.safetensors", {})
    with pytest.raises(InputError, match="no such file") as missing:
        open_tensorfile(tmp_path / "animea_.safetensors")
    assert "'animeA.safetensors'" in str(missing.value)
    with pytest.raises(InputError, match="does not exist"):
        open_tensorfile(tmp_path / "nowhere" / "x.safetensors")
    with pytest.raises(InputError, match="no such file"):
        open_tensorfile(tmp_path / "animeA.safetensors" / "x")
    with pytest.raises(InputError, match="a folder") as folder:
        open_tensorfile(tmp_path)
    assert "'animeA.safetensors'" in str(folder.value)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        open_tensorfile(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a path"):
        open_tensorfile("a\0b")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=r"cannot be opened|no such file"):
        open_tensorfile(tmp_path / "loop")


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    save_file({f"t{i}": torch.full((1000,), float(i)) for i in range(32)}, tmp_path / "n.safetensors")
    return tmp_path / "n.safetensors"


@pytest.mark.parametrize("positional_calls", [True, False])
def test_reads_from_many_threads(
    numbers: Path, monkeypatch: pytest.MonkeyPatch, positional_calls: bool
) -> None:
    monkeypatch.setattr(positional, "_POSITIONAL", positional_calls)
    with open_tensorfile(numbers) as file, ThreadPoolExecutor(8) as pool:
        names = [f"t{i % 32}" for i in range(500)]
        for name, tensor in zip(names, pool.map(file.read, names), strict=True):
            assert torch.equal(tensor, torch.full((1000,), float(name[1:])))


def test_misspelt_tensor_and_wrong_ranges(numbers: Path) -> None:
    with open_tensorfile(numbers) as file:
        with pytest.raises(InputError, match=r"no tensor 't77'"):
            file.read("t77")
        info = file.header.tensors["t3"]
        for start, size in ((-1, 1), (0, 4001), (4000, 1)):
            with pytest.raises(ValueError, match="of 4000"):
                file.readinto(info, memoryview(bytearray(size)), start)
        part = bytearray(4)
        file.readinto(info, memoryview(part), 3996)
        assert part == torch.tensor([3.0]).numpy().tobytes()


def test_file_cut_while_open(numbers: Path) -> None:
    with open_tensorfile(numbers) as file:
        os.truncate(numbers, file.header.data_start + 10)
        with pytest.raises(InputError, match="became shorter"):
            file.read("t31")


def test_identity_is_that_of_the_file(numbers: Path) -> None:
    link = numbers.with_name("link.safetensors")
    link.symlink_to(numbers)
    with TensorFile(numbers) as one, TensorFile(link) as other:
        assert one.identity == other.identity


def test_importing_the_room_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, loralathe.tensorfiles; "
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules), 'heavy import'"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(source)})
