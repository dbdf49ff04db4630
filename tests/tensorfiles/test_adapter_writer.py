"""The spooling writer: same bytes for any order of arrival, hashes as a trainer computes them."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from loralathe.errors import InputError
from loralathe.tensorfiles import AdapterWriter, legacy_hash, model_hash, read_header, tensor_bytes

META = {"ss_network_module": "networks.lora", "title": "日本", "ss_network_dim": "64"}


def lora(wide: int = 16, alpha_dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    tensors = {}
    for name in ("lora_unet_a_1", "lora_unet_a", "lora_te_b", "lora_unet_a_10"):
        tensors[f"{name}.lora_up.weight"] = torch.randn(wide, 4).half()
        tensors[f"{name}.lora_down.weight"] = torch.randn(4, wide).half()
        tensors[f"{name}.alpha"] = torch.tensor(4.0, dtype=alpha_dtype)
    return tensors


def write(path: Path, tensors: dict[str, torch.Tensor], seed: int = 0, threads: int = 1) -> Path:
    names = list(tensors)
    random.Random(seed).shuffle(names)
    kinds = {torch.float16: "F16", torch.float32: "F32"}
    with AdapterWriter(path, META) as writer, ThreadPoolExecutor(threads) as pool:
        list(
            pool.map(
                lambda name: writer.add(
                    name,
                    kinds[tensors[name].dtype],
                    tuple(tensors[name].shape),
                    tensor_bytes(tensors[name]),
                ),
                names,
            )
        )
        return writer.commit({"ss_network_alpha": "4"})


def test_any_order_gives_the_same_bytes(tmp_path: Path) -> None:
    tensors = lora()
    files = [write(tmp_path / f"{i}.safetensors", tensors, i, 1 + i) for i in range(4)]
    assert len({path.read_bytes() for path in files}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in files]
    got = load_file(files[0])
    assert all(torch.equal(got[name], tensor) for name, tensor in tensors.items())


def test_tensors_of_a_module_are_neighbours(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "x.safetensors", lora()))
    modules = [name.split(".", 1)[0] for name in header.tensors]
    parts = [name.split(".")[1] for name in header.tensors]
    assert parts == ["alpha", "lora_down", "lora_up"] * 4
    assert modules[::3] == modules[1::3] == modules[2::3]


@pytest.mark.parametrize("wide", [16, 80_000])
@pytest.mark.parametrize("alpha_dtype", [torch.float16, torch.float32])
def test_hashes_are_those_of_a_trainer(tmp_path: Path, wide: int, alpha_dtype: torch.dtype) -> None:
    """sd-scripts serialises the tensors with only the ss_* metadata and hashes parts of that."""
    tensors = lora(wide, alpha_dtype)
    path = write(tmp_path / "x.safetensors", tensors)
    training = {key: text for key, text in META.items() if key.startswith("ss_")} | {"ss_network_alpha": "4"}
    as_saved = save(tensors, training)
    data = as_saved[8 + int.from_bytes(as_saved[:8], "little") :]
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata == META | {
        "ss_network_alpha": "4",
        "sshs_model_hash": hashlib.sha256(data).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(as_saved[0x100000:0x110000]).hexdigest()[:8],
    }
    assert model_hash(path) == metadata["sshs_model_hash"]
    assert legacy_hash(path) == metadata["sshs_legacy_hash"]


def test_wrong_size_twice_and_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with AdapterWriter(path, {}) as writer:
        with pytest.raises(InputError, match="nothing to write"):
            writer.commit()
        with pytest.raises(ValueError, match="3 bytes given"):
            writer.add("a", "F16", (2,), b"abc")
        writer.add("a", "U8", (3,), b"abc")
        with pytest.raises(ValueError, match="'a' is taken"):
            writer.add("a", "U8", (3,), b"abc")
    assert list(tmp_path.iterdir()) == []


def test_output_is_checked_first(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="exists"):
        AdapterWriter(tmp_path / "x.safetensors", {})
    with pytest.raises(InputError, match="one of the inputs"):
        AdapterWriter(tmp_path / "x.safetensors", {}, force=True, inputs=[tmp_path / "x.safetensors"])
