"""The fixed-plan writer: bytes where planned, readable by the official library, each written exactly once."""

from __future__ import annotations

import errno
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from loralathe.errors import InputError
from loralathe.tensorfiles import (
    DTYPES,
    CheckpointWriter,
    TensorSpec,
    in_file_order,
    open_tensorfile,
    positional,
    read_header,
    tensor_bytes,
    to_torch_dtype,
    writers,
)
from loralathe.tensorfiles.writers import WrittenBytes
from tensorfiles.helpers import leftovers, raw_file

PLAN = [TensorSpec("b", "F32", (2, 2)), TensorSpec("none", "F16", (0,)), TensorSpec("a", "U8", (3,))]


def fill(writer: CheckpointWriter) -> None:
    writer.write("a", b"xyz")
    writer.write("none", b"")
    writer.write("b", bytes(8), start=8)
    writer.write("b", b"\0\0\x80\x3f" * 2)


def test_file_is_what_the_official_library_expects(tmp_path: Path) -> None:
    path = tmp_path / "out é.safetensors"
    with CheckpointWriter(path, PLAN, {"z": "1", "a": "日本"}) as writer:
        fill(writer)
        assert not path.exists()
        assert writer.commit() == path
    assert load_file(path)["b"].tolist() == [[1, 1], [0, 0]]
    assert bytes(load_file(path)["a"].tolist()) == b"xyz"
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"z": "1", "a": "日本"}
    assert read_header(path) == writer.header
    assert list(writer.header.tensors) == ["b", "none", "a"]
    assert path.read_bytes()[8:].startswith('{"__metadata__":{"a":"日本","z":"1"},"b":'.encode())
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("name", [name for name, dtype in DTYPES.items() if dtype.torch_name])
def test_every_dtype(tmp_path: Path, name: str) -> None:
    bits = torch.randint(0, 2 if name == "BOOL" else 256, (8, 8), dtype=torch.uint8)
    tensor = bits.view(to_torch_dtype(name))
    path = tmp_path / "x.safetensors"
    with CheckpointWriter(path, [TensorSpec("t", name, tuple(tensor.shape))], {}) as writer:
        writer.write("t", tensor_bytes(tensor))
        writer.commit()
    got = load_file(path)["t"]
    assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape)
    assert tensor_bytes(got) == tensor_bytes(tensor)


def test_bytes_equal_the_official_writer(tmp_path: Path) -> None:
    tensors = {
        "w": torch.ones(3, dtype=torch.float16),
        "q": torch.ones(5, dtype=torch.float8_e5m2),
        "é": torch.ones(2, 2),
        "n": torch.tensor(7),
        "p": torch.ones(1, dtype=torch.float8_e4m3fn),
        "c": torch.ones(1, dtype=torch.bfloat16),
    }
    expected = save(tensors, {"k": 'quote " slash \\ tab \t bell \x07 del \x7f'})
    path = tmp_path / "x.safetensors"
    path.write_bytes(expected)
    header = read_header(path)
    specs = in_file_order(TensorSpec(i.name, i.dtype, i.shape) for i in header.tensors.values())
    with (
        open_tensorfile(path) as source,
        CheckpointWriter(tmp_path / "y.safetensors", specs, header.metadata) as writer,
    ):
        for spec in specs:
            writer.copy_from(spec.name, source, spec.name)
        assert writer.commit().read_bytes() == expected


def test_umask_is_respected(tmp_path: Path) -> None:
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            with CheckpointWriter(tmp_path / f"{mask}.safetensors", PLAN, {}) as writer:
                fill(writer)
                mode = writer.commit().stat().st_mode
        finally:
            os.umask(before)
        assert mode & 0o777 == 0o666 & ~mask


def test_bytes_missing_or_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with CheckpointWriter(path, PLAN, {}) as writer:
        writer.write("b", bytes(8))
        with pytest.raises(ValueError, match=r"b: bytes \[4, 12\) are written twice"):
            writer.write("b", bytes(8), start=4)
        with pytest.raises(ValueError, match=r"a: bytes \[1, 4\) of 3"):
            writer.write("a", b"xyz", start=1)
        with pytest.raises(ValueError, match="b: byte 8 was never written"):
            writer.commit()
    assert list(tmp_path.iterdir()) == []


@given(st.permutations(list(range(12))), st.lists(st.integers(0, 12), max_size=2))
def test_coverage_of_pieces_in_any_order(order: list[int], skipped: list[int]) -> None:
    edges = [0, 1, 3, 4, 9, 10, 16, 17, 25, 26, 30, 33, 40]
    coverage, seen = WrittenBytes(40), set(range(40))
    for piece in order:
        if piece in skipped:
            continue
        coverage.add(edges[piece], edges[piece + 1])
        seen -= set(range(edges[piece], edges[piece + 1]))
        with pytest.raises(ValueError, match="twice"):
            coverage.add(edges[piece], edges[piece] + 1)
    assert coverage.first_gap() == min(seen, default=None)


def test_threads_write_pieces_in_any_order(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(1 << 16)
    starts = list(range(0, len(data), 1000))
    random.Random(2).shuffle(starts)
    with CheckpointWriter(tmp_path / "x.safetensors", [TensorSpec("t", "U8", (len(data),))], {}) as writer:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda at: writer.write("t", data[at : at + 1000], at), starts))
        path = writer.commit()
    assert path.read_bytes().endswith(data)


@pytest.mark.parametrize("way", ["kernel", "plain", "no position", "past the cache"])
def test_copies_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way in ("plain", "no position"):
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    if way == "past the cache":
        monkeypatch.setattr(writers, "LARGE", 0)
    monkeypatch.setattr(positional, "_POSITIONAL", way != "no position")
    monkeypatch.setattr(positional, "_copy_buffer", lambda: memoryview(bytearray(1000)))
    tensors = {f"t{i}": torch.randn(i, 77) for i in range(6)}
    save_file(tensors, tmp_path / "in.safetensors")
    with open_tensorfile(tmp_path / "in.safetensors") as source:
        specs = [TensorSpec(n.upper(), i.dtype, i.shape) for n, i in source.header.tensors.items()]
        with CheckpointWriter(tmp_path / "out.safetensors", specs, {}, inputs=[source.path]) as writer:
            for spec in specs:
                writer.copy_from(spec.name, source, spec.name.lower())
            writer.commit()
    got = load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(got[name.upper()], tensor) for name, tensor in tensors.items())


@pytest.mark.skipif(not hasattr(os, "pwritev"), reason="no pwritev here")
@pytest.mark.parametrize("refusal", [None, errno.EOPNOTSUPP])
def test_large_files_go_past_the_cache_where_the_system_lets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int | None
) -> None:
    """A system that knows no such writes is asked once; the bytes are the same."""
    asked: list[int] = []

    def pwritev(fd: int, buffers: list[memoryview], offset: int, flags: int) -> int:
        asked.append(flags)
        if refusal:
            raise OSError(refusal, os.strerror(refusal))
        return os.pwrite(fd, buffers[0][:100], offset)  # short writes are gone on with

    monkeypatch.setattr(os, "pwritev", pwritev)
    monkeypatch.setattr(positional._PastCache, "possible", True)
    data = random.Random(3).randbytes(1000)
    for name, large in (("small", 1 << 30), ("large", 1000)):
        monkeypatch.setattr(writers, "LARGE", large)
        with CheckpointWriter(
            tmp_path / f"{name}.safetensors", [TensorSpec("t", "U8", (1000,))], {}
        ) as writer:
            writer.write("t", data[:500])
            writer.write("t", data[500:], 500)
            assert writer.commit().read_bytes().endswith(data)
        assert len(asked) == {"small": 0, "large": 1 if refusal else 10}[name]
    assert set(asked) == {0x80}
    assert positional._PastCache.possible is (refusal is None)


def test_copy_that_does_not_fit(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "in.safetensors")
    with (
        open_tensorfile(tmp_path / "in.safetensors") as source,
        CheckpointWriter(tmp_path / "out.safetensors", PLAN, {}) as writer,
    ):
        with pytest.raises(ValueError, match="cannot be copied"):
            writer.copy_from("a", source, "a")
        with pytest.raises(InputError, match="no tensor 'A'"):
            writer.copy_from("a", source, "A")


def test_metadata_known_at_the_end(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path / "x.safetensors", PLAN, {"hash": "0" * 64, "k": "v"}) as writer:
        fill(writer)
        with pytest.raises(InputError, match="than were reserved"):
            writer.set_metadata({"hash": "1" * 80})
        writer.set_metadata({"hash": "f" * 40})
        path = writer.commit()
    assert read_header(path).metadata == {"hash": "f" * 40} == writer.header.metadata
    assert load_file(path)["b"].tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("metadata", [{"k": 3}, {"k": None}, {"k": "\ud800"}])
def test_metadata_must_be_text(tmp_path: Path, metadata: dict[str, str]) -> None:
    with pytest.raises(InputError, match="metadata"):
        CheckpointWriter(tmp_path / "x.safetensors", PLAN, metadata)
    assert list(tmp_path.iterdir()) == []


def test_plans_that_contradict_themselves(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for name in ("b", "__metadata__"):
        with pytest.raises(ValueError, match="is taken"):
            CheckpointWriter(path, [*PLAN, TensorSpec(name, "F32", ())], {})
    with pytest.raises(ValueError, match="whole number of bytes"):
        CheckpointWriter(path, [TensorSpec("w", "F4", (3,))], {})
    assert list(tmp_path.iterdir()) == []


def test_replacing_keeps_the_old_file_until_the_end(tmp_path: Path) -> None:
    real = raw_file(tmp_path / "real.safetensors", {})
    link = tmp_path / "link.safetensors"
    link.symlink_to(real)
    old = real.read_bytes()
    with pytest.raises(InputError, match="exists"):
        CheckpointWriter(link, PLAN, {})
    with CheckpointWriter(link, PLAN, {}, force=True) as writer:
        fill(writer)
    assert real.read_bytes() == old
    with CheckpointWriter(link, PLAN, {}, force=True) as writer:
        fill(writer)
        assert real.read_bytes() == old
        writer.commit()
    assert link.is_symlink()
    assert "b" in read_header(real).tensors


@pytest.mark.parametrize("hard_links", [True, False])
def test_output_that_appears_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "not here")

    if not hard_links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "x.safetensors"
    with CheckpointWriter(path, PLAN, {}) as writer:
        fill(writer)
        path.write_bytes(b"mine")
        with pytest.raises(InputError, match="appeared"):
            writer.commit()
    assert path.read_bytes() == b"mine"
    assert not leftovers(tmp_path)
    path.unlink()
    with CheckpointWriter(path, PLAN, {}) as writer:
        fill(writer)
        writer.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
