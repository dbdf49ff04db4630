"""Quantised weights in safetensors files, against the programs that made them and float64 numpy.

`tests/data/quantised` was made by comfy-kitchen and bitsandbytes (`make.py` beside it); mxfp8 and nvfp4 are
decoded by torchao as well there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from loralathe.errors import InputError
from loralathe.tensorfiles import in_memory, open_tensorfile, read_header
from loralathe.tensorfiles.quantised.coding import PIECE
from loralathe.tensorfiles.quantised.tables import table

DATA = Path(__file__).parents[1] / "data" / "quantised"
ROWS = [0, 1, 31, 32, 95, 96, 127, 128, 143]
VALUES = load_file(DATA / "values.safetensors")
FORMATS = sorted(VALUES.keys() - {"matrix"})
CODES = {"E4M3": torch.float8_e4m3fn, "E5M2": torch.float8_e5m2}


def told(**config: object) -> torch.Tensor:
    return torch.tensor(list(json.dumps(config).encode()), dtype=torch.uint8)


def save(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    save_file({key: value.clone() for key, value in tensors.items()}, path, dict(metadata or {}))
    return path


def read(path: Path, name: str = "a.weight") -> np.ndarray:
    with open_tensorfile(path) as file:
        return file.read(name).numpy()


@pytest.mark.parametrize("name", FORMATS)
def test_as_the_programs_that_made_them(name: str) -> None:
    """Within the rounding of two fp32 products; rotations are sums of 16 terms."""
    found = read(DATA / "layers.safetensors", f"{name}.weight")
    expected = VALUES[name].numpy()
    assert found.dtype == np.float32
    assert found.shape == ((108, 128) if name.startswith(("nf4", "fp4")) else (144, 96))
    rotated = name == "int8_turned"
    np.testing.assert_allclose(
        found.reshape(144, 96)[ROWS], expected, rtol=0 if rotated else 3e-7, atol=2e-8 if rotated else 0
    )
    # What is read is the matrix that was quantised, as far as the format holds it.
    error = np.sqrt(np.mean((expected - VALUES["matrix"].numpy()) ** 2)) / VALUES["matrix"].std().item()
    stored = read_header(DATA / "layers.safetensors").tensors[f"{name}.weight"].stored
    assert stored is not None
    told = stored.rounding or stored.error / VALUES["matrix"].std().item()
    assert 0.99 * error < told < 1.25 * error


def test_scales_belong_to_their_weights() -> None:
    with open_tensorfile(DATA / "layers.safetensors") as file:
        assert set(file.header.tensors) == {f"{name}.weight" for name in FORMATS}
        assert len(file.scales) + len(file.unused) + len(FORMATS) == len(file.stored.tensors)
        assert sorted(file.unused) == ["float8_e4m3fn.input_scale", "float8_e5m2.input_scale"]
        size = sum(info.bytes_in_file for info in file.header.tensors.values())
        unused = sum(file.stored.tensors[name].nbytes for name in file.unused)
        assert size + unused == sum(info.nbytes for info in file.stored.tensors.values())


@pytest.mark.parametrize("name", FORMATS)
def test_any_range_of_bytes_is_that_of_the_whole(name: str) -> None:
    with open_tensorfile(DATA / "layers.safetensors") as file:
        info, whole = file.info(f"{name}.weight"), file.read_bytes(f"{name}.weight")
        for start, count in [
            (0, 4),
            (4, 4),
            (388, 76),
            (1, 1),
            (7, 30),
            (4 * 17, 4 * 1001),
            (len(whole) - 6, 6),
        ]:
            piece = bytearray(count)
            file.readinto(info, memoryview(piece), start)
            assert piece == whole[start : start + count]
        with pytest.raises(ValueError, match="bytes"):
            file.readinto(info, memoryview(bytearray(8)), len(whole) - 4)


@pytest.mark.parametrize("name", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_tables_are_torchs(name: str) -> None:
    dtype = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu}[
        name
    ]
    np.testing.assert_array_equal(
        table(name), torch.arange(256, dtype=torch.uint8).view(dtype).float().numpy()
    )


SCALES: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    "no axes": lambda rows, columns: (),
    "one": lambda rows, columns: (1,),
    "row, flat": lambda rows, columns: (rows,),
    "row": lambda rows, columns: (rows, 1),
    "blocks": lambda rows, columns: (rows, columns // 8, 1),
    "blocks, flat": lambda rows, columns: (rows, columns // 8),
}


@pytest.mark.parametrize("spelling", ["scale_weight", "comfy_quant", "weight_scale", "metadata"])
@pytest.mark.parametrize("shape", SCALES)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("scale_dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.quick(6)
def test_scaled_fp8(tmp_path: Path, spelling: str, shape: str, code: str, scale_dtype: torch.dtype) -> None:
    """ComfyUI's spellings, and musubi-tuner's scales of rows and blocks, against float64."""
    torch.manual_seed(3)
    codes = torch.randn(6, 40).to(CODES[code])
    scale = (torch.rand(SCALES[shape](6, 40)) + 0.5).mul(0.01).to(scale_dtype)
    name = "scale_weight" if spelling == "scale_weight" else "weight_scale"
    tensors = {"p.a.weight": codes, f"p.a.{name}": scale, "p.a.bias": torch.ones(6)}
    metadata = {}
    if spelling == "scale_weight":
        tensors |= {"p.scaled_fp8": torch.zeros(2, dtype=CODES[code]), "p.a.scale_input": torch.ones(1)}
    if spelling == "comfy_quant":
        tensors["p.a.comfy_quant"] = told(format=f"float8_{code.lower().replace('e4m3', 'e4m3fn')}")
    if spelling == "metadata":  # which may name layers without the prefix that they have in the file
        layers = {"a": {"format": f"float8_{code.lower().replace('e4m3', 'e4m3fn')}"}}
        metadata = {"_quantization_metadata": json.dumps({"layers": layers}), "title": "x"}
    path = save(tmp_path / "x.safetensors", tensors, metadata)
    numbers = codes.double().numpy()
    wide = scale.double().numpy()
    repeated = (
        np.repeat(wide.reshape(6, -1), 40 // wide.reshape(6, -1).shape[1], 1) if wide.size > 1 else wide
    )
    np.testing.assert_allclose(read(path, "p.a.weight"), numbers * repeated, rtol=1e-7)
    with open_tensorfile(path) as file:
        assert list(file.header.tensors) == [
            key for key in file.stored.tensors if key in ("p.a.weight", "p.a.bias")
        ]
        assert dict(file.header.metadata) == ({"title": "x"} if spelling == "metadata" else {})
        assert file.is_quantised


def test_a_layer_larger_than_a_piece(tmp_path: Path) -> None:
    """Pieces do not end at rows or blocks; convolutions have more axes."""
    torch.manual_seed(4)
    codes = torch.randint(-128, 128, (7, 49999, 1, 1), dtype=torch.int8)
    scale = torch.rand(7, 1, 1, 1)
    assert codes.numel() > PIECE
    tensors = {"a.weight": codes, "a.weight_scale": scale, "a.comfy_quant": told(format="int8_tensorwise")}
    expected = codes.double().numpy() * scale.double().numpy()
    for path in (save(tmp_path / "x.safetensors", tensors), in_memory(tensors)):
        np.testing.assert_allclose(read(path), expected, rtol=1e-7)


def test_a_pickle(tmp_path: Path) -> None:
    codes = torch.randn(4, 8).to(torch.float8_e4m3fn)
    torch.save({"a.weight": codes, "a.scale_weight": torch.tensor(0.5)}, tmp_path / "x.pt")
    np.testing.assert_array_equal(read(tmp_path / "x.pt"), codes.float().numpy() / 2)


FP8 = torch.zeros(4, 8, dtype=torch.float8_e4m3fn)
ONE = torch.ones(())
NEW = {"a.weight": FP8, "a.weight_scale": ONE, "a.comfy_quant": told(format="float8_e4m3fn")}
INT8 = torch.zeros(4, 64, dtype=torch.int8)
NF4 = {
    key: value
    for key, value in load_file(DATA / "layers.safetensors").items()
    if key.startswith("nf4_nested")
}
BAD: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "no scale": (
        {**NEW, "a.weight_scale": None},
        "a scale of a quantised weight is missing: 'a.weight_scale'",
    ),
    "misshapen scale": (
        {**NEW, "a.weight_scale": torch.ones(3)},
        "a scale does not fit its weight: it is F32 of shape [3]",
    ),
    "scales of columns": ({**NEW, "a.weight_scale": torch.ones(1, 8)}, "a scale does not fit its weight"),
    "scale of integers": (
        {**NEW, "a.weight_scale": torch.ones((), dtype=torch.int32)},
        "a scale does not fit its weight",
    ),
    "no scale at all": ({**NEW, "a.weight_scale": torch.ones(0)}, "a scale does not fit its weight"),
    "unknown format": (
        {**NEW, "a.comfy_quant": told(format="convrot_w4a4")},
        "the quantised format 'convrot_w4a4' is not read",
    ),
    "no format": ({**NEW, "a.comfy_quant": told(group=3)}, "the quantised format 'None' is not read"),
    "no JSON": ({**NEW, "a.comfy_quant": torch.tensor(list(b"{"), dtype=torch.uint8)}, "is not JSON"),
    "deep JSON": ({**NEW, "a.comfy_quant": torch.full((50000,), 91, dtype=torch.uint8)}, "is not JSON"),
    "a JSON list": (
        {**NEW, "a.comfy_quant": torch.tensor(list(b"[1]"), dtype=torch.uint8)},
        "is not a JSON object",
    ),
    "long JSON": ({**NEW, "a.comfy_quant": torch.zeros(70000, dtype=torch.uint8)}, "a short JSON text"),
    "two spellings": ({**NEW, "a.scale_weight": ONE}, "scales in two spellings"),
    "two scales": (
        {"a.weight": FP8, "a.scale_weight": ONE, "a.weight_scale": ONE},
        "scales in two spellings",
    ),
    "no weight": (
        {"b.weight": FP8, "a.scale_weight": ONE},
        "'a.scale_weight' is for a weight that the file does not have",
    ),
    "bf16": (
        {"a.weight": torch.ones(4, 4).bfloat16(), "a.scale_weight": ONE},
        "its scale is for fp8 weights, and it is BF16",
    ),
    "int8 unexplained": (
        {"a.weight": INT8, "a.weight_scale": ONE},
        "its scale is for fp8 weights, and it is I8",
    ),
    "another dtype": (
        {**NEW, "a.weight": INT8},
        "a quantised weight does not fit its format: it is I8 of shape [4, 64]",
    ),
    "smoothed": (
        {**NEW, "a.pre_quant_scale": torch.ones(8)},
        "'pre_quant_scale', which smooths its inputs, is not read",
    ),
    "group of 100": (
        {
            "a.weight": INT8,
            "a.weight_scale": ONE,
            "a.comfy_quant": told(format="int8_tensorwise", convrot=True, convrot_groupsize=32),
        },
        "rows of 64 cannot be turned in groups of 32",
    ),
    "few tiles": (
        {
            "a.weight": torch.zeros(4, 32, dtype=torch.float8_e4m3fn),
            "a.weight_scale": torch.zeros(4, 1, dtype=torch.uint8),
            "a.comfy_quant": told(format="mxfp8"),
        },
        "a scale does not fit its weight",
    ),
    "no second scale": (
        {
            "a.weight": torch.zeros(4, 32, dtype=torch.uint8),
            "a.weight_scale": torch.zeros(128, 4, dtype=torch.uint8),
            "a.comfy_quant": told(format="nvfp4"),
        },
        "a scale of a quantised weight is missing: 'a.weight_scale_2'",
    ),
    "nf4 without scales": (
        {**NF4, "nf4_nested.weight.absmax": None},
        "'nf4_nested.weight.absmax' is missing",
    ),
    "nf4 without scales of scales": (
        {**NF4, "nf4_nested.weight.nested_absmax": None},
        "'nf4_nested.weight.nested_absmax' is missing",
    ),
    "nf4 of another size": (
        {**NF4, "nf4_nested.weight": torch.zeros(9, 1, dtype=torch.uint8)},
        "and should be 6,912 numbers of U8",
    ),
    "nf4 without shape": (
        {**NF4, "nf4_nested.weight.quant_state.bitsandbytes__nf4": told(blocksize=64)},
        "lacks its shape or the size",
    ),
    "nf4 of odd blocks": (
        {**NF4, "nf4_nested.weight.quant_state.bitsandbytes__nf4": told(blocksize=63, shape=[108, 128])},
        "lacks its shape or the size",
    ),
    "both ways": ({**NF4, "nf4_nested.scale_weight": ONE}, "its scale is for fp8 weights, and it is U8"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said(tmp_path: Path, case: str) -> None:
    tensors, what = BAD[case]
    path = save(
        tmp_path / "x.safetensors", {key: value for key, value in tensors.items() if value is not None}
    )
    with pytest.raises(InputError) as caught:
        open_tensorfile(path)
    assert what in caught.value.what
    assert str(path) in str(caught.value.where)
    assert caught.value.fix


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"layers": 3}', '{"layers": {"a": "int9"}}', '{"layers": {"b": {}}}']
)
def test_metadata_that_does_not_fit(tmp_path: Path, text: str) -> None:
    path = save(
        tmp_path / "x.safetensors", {"a.weight": FP8, "a.weight_scale": ONE}, {"_quantization_metadata": text}
    )
    with pytest.raises(InputError):
        open_tensorfile(path)


def test_a_scale_for_inputs_alone_changes_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "x.safetensors", {"a.weight": torch.ones(2, 2), "a.input_scale": ONE})
    with open_tensorfile(path) as file:
        assert list(file.header.tensors) == ["a.weight"]
        assert file.unused == ("a.input_scale",)
        assert not file.is_quantised
        assert torch.equal(file.read("a.weight"), torch.ones(2, 2))
