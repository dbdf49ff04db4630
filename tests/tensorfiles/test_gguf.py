"""GGUF files: their structure against the `gguf` package, their numbers against formulas in float64."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from loralathe.errors import InputError, MachineError
from loralathe.tensorfiles import open_tensorfile
from loralathe.tensorfiles.gguf.blocks import BLOCKS, PLAIN
from tensorfiles.gguf_files import SHAPE, as_float64, raw_gguf, text, write_gguf

Q8_0, Q4_0 = 8, 2


def test_types_are_those_of_the_package() -> None:
    for number, kind in BLOCKS.items():
        known = gguf.GGMLQuantizationType(number)
        assert (kind.name, (kind.size, kind.nbytes)) == (known.name, gguf.GGML_QUANT_SIZES[known])
    for number, dtype in PLAIN.items():
        assert gguf.GGMLQuantizationType(number).name == dtype


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_what_the_package_writes(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(1)
    tensors = {"a.weight": 0.02 * torch.randn(48, 640), "a.bias": torch.randn(48)}
    path = write_gguf(tmp_path / "x.gguf", tensors, default=kind)
    with open_tensorfile(path) as file:
        assert file.format == "gguf"
        assert dict(file.header.metadata) == {"general.architecture": "flux"}
        info = file.info("a.weight")
        assert (info.dtype, info.shape) == ("F32", (48, 640))
        assert info.stored is not None
        assert info.stored.kind == f"GGUF {kind}"
        found, there = file.read("a.weight"), tensors["a.weight"]
        assert torch.equal(file.read("a.bias"), tensors["a.bias"])
    quantised = gguf.quants.quantize(there.numpy(), gguf.GGMLQuantizationType[kind])
    expected = gguf.quants.dequantize(quantised, gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(found.numpy(), expected)
    # ε, which sets the noise floor of an extraction, is what rounding does to normal weights.
    error = float((found - there).square().mean().sqrt() / there.square().mean().sqrt())
    assert error < info.stored.rounding < 1.3 * error


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q4_K"])
def test_formulas(tmp_path: Path, kind: str) -> None:
    """Any bytes are a block; scales are set to sane numbers."""
    known = gguf.GGMLQuantizationType[kind]
    size, nbytes = gguf.GGML_QUANT_SIZES[known]
    raw = np.random.default_rng(2).integers(0, 256, (12, nbytes), dtype=np.uint8)
    raw[:, 0:4:2], raw[:, 1:4:2] = 7, 0x1C  # fp16: 0.00393
    if kind in ("Q8_0", "Q4_0"):
        raw[:, 2:4] = np.random.default_rng(3).integers(0, 256, (12, 2), dtype=np.uint8)
    path = tmp_path / "x.gguf"
    path.write_bytes(raw_gguf(tensors=[("w", (3 * size, 4), known.value, 0)], data=raw.tobytes()))
    with open_tensorfile(path) as file:
        found = file.read("w").numpy()
    np.testing.assert_allclose(found, as_float64(raw, kind).reshape(4, 3 * size), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("number", BLOCKS)
@pytest.mark.quick(8)
def test_every_type_in_pieces(tmp_path: Path, number: int) -> None:
    """Ranges that begin and end inside of blocks are parts of what the package makes of the whole."""
    kind = BLOCKS[number]
    raw = np.random.default_rng(4).integers(0, 0x3C, (8, kind.nbytes), dtype=np.uint8)
    path = tmp_path / "x.gguf"
    path.write_bytes(raw_gguf(tensors=[("w", (4 * kind.size, 2), number, 0)], data=raw.tobytes()))
    whole = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(number)).reshape(-1).astype(np.float32)
    with open_tensorfile(path) as file:
        info = file.info("w")
        for first, count in ((0, len(whole)), (1, 5), (kind.size - 1, 2), (3, kind.size + 7)):
            piece = bytearray(4 * count)
            file.readinto(info, memoryview(piece), 4 * first)
            np.testing.assert_array_equal(np.frombuffer(piece, np.float32), whole[first : first + count])


def test_shapes_beside_tensors(tmp_path: Path) -> None:
    torch.manual_seed(5)
    tensors = {"conv.weight": torch.randn(16, 16, 3, 3), "odd.weight": torch.randn(3, 5)}
    with open_tensorfile(write_gguf(tmp_path / "x.gguf", tensors, default="Q8_0")) as file:
        assert {name: info.shape for name, info in file.header.tensors.items()} == {
            "conv.weight": (16, 16, 3, 3),
            "odd.weight": (3, 5),
        }
        assert torch.equal(file.read("odd.weight"), tensors["odd.weight"])
        torch.testing.assert_close(file.read("conv.weight"), tensors["conv.weight"], atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_plain_dtypes_keep_their_bytes(tmp_path: Path, kind: str) -> None:
    there = torch.randn(4, 6).to(torch.float16 if kind == "F16" else torch.bfloat16)
    with open_tensorfile(write_gguf(tmp_path / "x.gguf", {"w": there}, default=kind)) as file:
        assert file.info("w").stored is None
        assert torch.equal(file.read("w"), there)


def test_without_the_package_only_numbers_are_lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(tmp_path / "x.gguf", {"w": torch.zeros(2, 32), "b": torch.ones(2)}, default="Q8_0")
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with open_tensorfile(path) as file:
        assert torch.equal(file.read("b"), torch.ones(2))
        with pytest.raises(MachineError, match="quantised GGUF files need a package") as caught:
            file.read("w")
    assert caught.value.fix == 'pip install "loralathe[gguf]"'


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def listed(kind: int, count: int, items: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + items


W = ("w", (32, 2), Q8_0, 0)
BLOCK = bytes(68)
BAD: dict[str, tuple[bytes, str]] = {
    "version 1": (raw_gguf(version=1), "a GGUF file of version 1"),
    "other byte order": (raw_gguf(version=3 << 24), "a GGUF file of version 50331648"),
    "only its mark": (b"GGUF", "truncated or damaged"),
    "many tensors": (raw_gguf(counts=(1 << 60, 0)), "the header holds 1,152,921,504,606,846,976 tensors"),
    "many entries": (raw_gguf(counts=(0, 1 << 60)), "the header holds 1,152,921,504,606,846,976 entries"),
    "fewer than it says": (raw_gguf(counts=(3, 0)), "truncated or damaged"),
    "a long name": (raw_gguf([struct.pack("<Q", 1 << 50)]), "a name of 1,125,899,906,842,624 bytes"),
    "a long text": (raw_gguf([entry("a", 8, struct.pack("<Q", 1 << 50))]), "truncated or damaged"),
    "a long list": (raw_gguf([entry("a", 9, listed(4, 1 << 60))]), "truncated or damaged"),
    "a long list of texts": (raw_gguf([entry("a", 9, listed(8, 1 << 60))]), "values; the most that is read"),
    "lists in lists": (raw_gguf([entry("a", 9, listed(9, 1, listed(9, 1, listed(9, 1))))]), "unknown type 9"),
    "an unknown entry": (raw_gguf([entry("a", 77, b"")]), "an entry of the unknown type 77"),
    "no alignment": (raw_gguf([entry("general.alignment", 4, bytes(4))]), "an alignment of 0 bytes"),
    "many axes": (raw_gguf(tensors=[("w", (1,) * 9, 0, 0)], data=bytes(4)), "9 axes"),
    "beyond any size": (raw_gguf(tensors=[("w", (1 << 40, 1 << 40, 0), 0, 0)]), "is beyond any size"),
    "beyond the file": (raw_gguf(tensors=[W], data=BLOCK[:-1]), "truncated: it ends at byte"),
    "twice": (raw_gguf(tensors=[W, W], data=BLOCK), "the header names it twice"),
    "overlapping": (raw_gguf(tensors=[W, ("v", (32,), Q4_0, 32)], data=BLOCK), "its data overlaps"),
    "half a block": (raw_gguf(tensors=[("w", (16, 4), Q8_0, 0)], data=BLOCK), "are no whole blocks of Q8_0"),
    "an unknown type": (raw_gguf(tensors=[("w", (32, 2), 99, 0)], data=BLOCK), "its type has the number 99"),
    "a shape of another size": (
        raw_gguf([entry(SHAPE + "w", 9, listed(5, 2, struct.pack("<2i", 8, 9)))], [W], BLOCK),
        "its shape [8, 9] does not fit [2, 32]",
    ),
    "a shape below zero": (
        raw_gguf([entry(SHAPE + "w", 9, listed(5, 2, struct.pack("<2i", -8, -8)))], [W], BLOCK),
        "not a shape",
    ),
    "a shape of many axes": (
        raw_gguf([entry(SHAPE + "w", 9, listed(5, 1 << 40))], [W], BLOCK),
        "not a shape",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_damaged_files_are_refused(tmp_path: Path, case: str) -> None:
    content, what = BAD[case]
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_tensorfile(path)
    assert what in caught.value.what
    assert str(path) in str(caught.value.where)
    assert caught.value.fix


def test_every_cut_is_refused(tmp_path: Path) -> None:
    """A file that ends early is an error, wherever it ends; so is none of its bytes a crash."""
    whole = raw_gguf([entry(SHAPE + "w", 9, listed(5, 2, struct.pack("<2i", 32, 2)))], [W], BLOCK)
    path = tmp_path / "x.gguf"
    for size in range(4, len(whole), 3):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError):
            open_tensorfile(path)
