"""Headers: what is refused and how it is said; what is accepted equals what the official library sees."""

from __future__ import annotations

import json
import random
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from loralathe.errors import InputError
from loralathe.tensorfiles import TensorSpec, read_header
from loralathe.tensorfiles.header import encode_header, plan_layout
from tensorfiles.helpers import entry, raw_file

F32 = entry("F32", [2], 0, 8)

BAD = {
    "overlap": ({"a": F32, "b": entry("F32", [2], 4, 12)}, 12, "overlaps", "'b'"),
    "same range": ({"a": F32, "b": F32}, 8, "overlaps", "'b'"),
    "beyond": ({"a": F32, "b": entry("F32", [2], 1008, 1016)}, 20, "lies beyond the file", "'b'"),
    "hole": ({"a": F32, "b": entry("F32", [2], 12, 20)}, 20, "hole", "'b'"),
    "hole at start": ({"a": entry("F32", [2], 4, 12)}, 12, "hole", "'a'"),
    "beyond the file": ({"a": F32}, 7, "truncated", "'a'"),
    "left over": ({"a": F32}, 9, "1 bytes at the end", ""),
    "left over, no tensors": ({}, 3, "3 bytes at the end", ""),
    "shape and range differ": ({"a": entry("F32", [3], 0, 8)}, 8, "12 bytes", "'a'"),
    "backwards": ({"a": entry("F32", [2], 8, 0)}, 8, "range [8, 0)", "'a'"),
    "unknown dtype": ({"a": entry("F33", [2], 0, 8)}, 8, "'F33'", "'a'"),
    "dtype is a number": ({"a": {**F32, "dtype": 32}}, 8, "unknown dtype 32", "'a'"),
    "no dtype": ({"a": {"shape": [2], "data_offsets": [0, 8]}}, 8, "unknown dtype None", "'a'"),
    "negative size": ({"a": {**F32, "shape": [-2]}}, 8, "shape is not", "'a'"),
    "size is true": ({"a": {**F32, "shape": [True, 2]}}, 8, "shape is not", "'a'"),
    "size is 2.0": ({"a": {**F32, "shape": [2.0]}}, 8, "shape is not", "'a'"),
    "one offset": ({"a": {**F32, "data_offsets": [0]}}, 8, "data_offsets", "'a'"),
    "offsets are text": ({"a": {**F32, "data_offsets": "08"}}, 8, "data_offsets", "'a'"),
    "half a byte": ({"a": entry("F4", [3], 0, 2)}, 2, "12 bits", "'a'"),
    "endless empty shape": ({"a": entry("F32", [2**40, 2**40, 0], 0, 0)}, 0, "beyond any size", "'a'"),
    "entry is a list": ({"a": [1]}, 0, "not a JSON object", "'a'"),
    "metadata is a number": ({"__metadata__": {"steps": 3}}, 0, "'steps' is not text but int", ""),
    "metadata is null": ({"__metadata__": {"steps": None}}, 0, "'steps' is not text", ""),
    "metadata is a list": ({"__metadata__": []}, 0, "__metadata__ is not", ""),
    "header is a list": ([], 0, "not a JSON object", ""),
    "tensor twice": (b'{"a":{},"a":{}}', 0, "names 'a' twice", ""),
    "metadata twice": (b'{"__metadata__":{"k":"1","k":"2"}}', 0, "names 'k' twice", ""),
    "NaN": (b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,0]}}', 0, "NaN is not JSON", ""),
    "minus zero": (b'{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}', 0, "-0 is not a size", ""),
    "not UTF-8": (b'{"\xff":1}    ', 0, "not valid JSON", ""),
    "half a character": (rb'{"__metadata__":{"k":"\ud800"}}', 0, "not valid JSON", ""),
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0, "not valid JSON", ""),
    "two objects": (b"{}{}      ", 0, "something follows", ""),
    "cut JSON": (b'{"a":{"dtype":"F32"', 0, "not valid JSON", ""),
}


@pytest.mark.parametrize("case", BAD)
def test_faults_are_named(tmp_path: Path, case: str) -> None:
    header, data, what, where = BAD[case]
    path = raw_file(tmp_path / "bad.safetensors", header, bytes(data))
    with pytest.raises(InputError) as caught:
        read_header(path)
    assert what in caught.value.what
    assert where in (caught.value.where or "")
    assert str(path) in (caught.value.where or "")
    assert caught.value.fix


def test_header_longer_than_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 1000) + b"{}" * 10)
    with pytest.raises(InputError, match=r"header needs 1,008 bytes, the file has 28"):
        read_header(path)


def test_header_over_the_limit_is_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}" * 10)
    with pytest.raises(InputError, match=r"header would be 4,611,686,018,427,387,904 bytes"):
        read_header(path)


def test_accepts_what_is_valid_and_unusual(tmp_path: Path) -> None:
    header = {
        "late": entry("U8", [3], 4, 7),
        "empty": entry("F16", [0, 5], 4, 4),
        "scalar": {**entry("F32", [], 0, 4), "note": "unknown fields are ignored"},
        "__metadata__": {"日本": "é\n"},
    }
    found = read_header(raw_file(tmp_path / "x.safetensors", header, bytes(7)))
    assert list(found.tensors) == ["scalar", "empty", "late"]
    assert found.tensors["empty"].shape == (0, 5)
    assert found.metadata == {"日本": "é\n"}
    assert found.file_size == found.data_start + 7
    assert read_header(raw_file(tmp_path / "y.safetensors", b"{}")).tensors == {}


def _sdxl_like(count: int = 2515) -> bytes:
    names = [
        f"model.diffusion_model.input_blocks.{i % 9}.1.transformer_blocks.{i}.attn1" for i in range(count)
    ]
    return encode_header(plan_layout(TensorSpec(n, "F16", (4, 8)) for n in names).values(), {"k": "v"})


def test_large_header_is_quick(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(_sdxl_like() + bytes(2515 * 64))
    best = min(_timed(path) for _ in range(5))
    assert best < 1.0  # far above what it takes: only a change of complexity may fail here


def _timed(path: Path) -> float:
    start = time.process_time()  # of this process alone: other work on the machine does not count
    assert len(read_header(path).tensors) == 2515
    return time.process_time() - start


NAMES = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda name: name != "__metadata__")
SPECS = st.lists(
    st.builds(
        TensorSpec,
        NAMES,
        st.sampled_from(["F64", "F32", "BF16", "F8_E4M3", "I64", "BOOL", "U8"]),
        st.lists(st.integers(0, 4), max_size=3).map(tuple),
    ),
    max_size=5,
    unique_by=lambda spec: spec.name,
)


@st.composite
def valid_files(draw: st.DrawFn) -> bytes:
    layout = plan_layout(draw(SPECS))
    metadata = draw(st.dictionaries(NAMES, st.text(st.characters(codec="utf-8"), max_size=8), max_size=3))
    size = max((info.end for info in layout.values()), default=0)
    return encode_header(layout.values(), metadata) + bytes(range(256)) * (size // 256) + bytes(size % 256)


def official(path: Path) -> tuple[dict[str, tuple[str, tuple[int, ...]]], dict[str, str]]:
    with safe_open(path, "numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}, file.metadata() or {}


def agree(path: Path) -> bool:
    """Whether the file is read; an accepted file must look the same to the official library."""
    try:
        ours = read_header(path)
    except InputError:
        return False
    tensors, metadata = official(path)
    assert {n: (i.dtype, i.shape) for n, i in ours.tensors.items()} == tensors
    assert dict(ours.metadata) == metadata
    return True


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(data=valid_files())
def test_written_headers_mean_the_same_to_the_official_library(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "v.safetensors"
    path.write_bytes(data)
    assert agree(path)
    assert read_header(path).data_start % 8 == 0


@FUZZ
@given(data=valid_files(), seed=st.integers(0, 2**32), flips=st.integers(1, 4))
def test_damaged_bytes_never_surprise(tmp_path: Path, data: bytes, seed: int, flips: int) -> None:
    rng, damaged = random.Random(seed), bytearray(data)
    for _ in range(flips):
        at = rng.randrange(len(damaged))
        kind = rng.randrange(4)
        if kind == 0:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            damaged[at] = rng.choice(b'0123456789-,.[]{}":\\u eE')
        elif kind == 2:
            del damaged[at:]
        else:
            damaged.insert(at, rng.randrange(256))
        if not damaged:
            break
    path = tmp_path / "d.safetensors"
    path.write_bytes(damaged)
    agree(path)


@FUZZ
@given(
    data=valid_files(),
    field=st.sampled_from(["shape", "data_offsets", "dtype"]),
    value=st.one_of(
        st.lists(st.integers(-1, 2**65), max_size=3),
        st.sampled_from(["F32", "U8", "f32", "", "F4", "F6_E2M3"]),
        st.integers(),
        st.none(),
    ),
)
def test_edited_entries_never_surprise(tmp_path: Path, data: bytes, field: str, value: object) -> None:
    size = struct.unpack("<Q", data[:8])[0]
    table = json.loads(data[8 : 8 + size])
    for name in table:
        if name != "__metadata__":
            table[name][field] = value
            break
    agree(raw_file(tmp_path / "e.safetensors", table, data[8 + size :]))
