"""Tensors in memory as inputs and outputs: the same numbers, bit for bit, as by way of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import loralathe
from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import KEY, RunOptions, run_recipe
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe
from loralathe.tensorfiles import in_memory, open_tensorfile, read_header, tensor_bytes

A = tiny_checkpoint("sd1", seed=1, width_divisor=32)
STATE = {
    "A": A,
    "B": second_checkpoint(A, 0.003, 2),
    "hina": tiny_lora("sd1", rank=4, alpha=2, seed=5, width_divisor=32),
}
STEPS = {
    "merged": "A + 0.7*hina",
    "lora": "extract(B - A, rank=4)",
    "small": "resize(hina, rank=2)",
}


def as_numpy(tensors: dict[str, torch.Tensor]) -> dict[str, object]:
    return {
        name: tensor.numpy() if tensor.dtype != torch.bfloat16 else tensor for name, tensor in tensors.items()
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("in-memory")
    return {name: write_safetensors(folder / f"{name}.safetensors", state) for name, state in STATE.items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(one[key].dtype == other[key].dtype and torch.equal(one[key], other[key]) for key in one)


@pytest.mark.quick(2)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["torch", "numpy"])
@pytest.mark.long
def test_the_same_as_files(files: dict[str, Path], tmp_path: Path, step: str, kind: str) -> None:
    saved = Save(step, tmp_path / "by-files.safetensors")
    run_recipe(make_recipe(inputs=files, steps={step: STEPS[step]}, saves=[saved]), RunOptions(threads=2))
    states = STATE if kind == "torch" else {name: as_numpy(state) for name, state in STATE.items()}
    held = {name: in_memory(state, name) for name, state in states.items()}
    to_file = Save(step, tmp_path / "from-memory.safetensors")
    run_recipe(make_recipe(inputs=held, steps={step: STEPS[step]}, saves=[to_file]))
    to_memory = Save(step, in_memory({}, "result"))
    report = run_recipe(make_recipe(inputs=held, steps={step: STEPS[step]}, saves=[to_memory]))
    wanted = load_file(saved.file)
    assert equal(load_file(to_file.file), wanted)
    assert equal(dict(report.tensors[step]), wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "by-files.safetensors",
        "from-memory.safetensors",
    ]


def test_a_record_says_that_an_input_was_in_memory(files: dict[str, Path], tmp_path: Path) -> None:
    inputs = {"A": in_memory(STATE["A"], "A"), "hina": files["hina"]}
    target = tmp_path / "out.safetensors"
    run_recipe(make_recipe(inputs=inputs, steps={"m": "A + hina"}, saves=[Save("m", target)]))
    record = json.loads(read_header(target).metadata[KEY])
    assert record["inputs"]["A"]["file"] == "<A in memory>"
    assert record["inputs"]["A"]["sha256"] == "in memory"
    assert len(record["inputs"]["hina"]["sha256"]) == 64


def test_reading_like_a_file(tmp_path: Path) -> None:
    state = {"x": torch.arange(12.0).reshape(3, 4).T, "b": torch.ones(2, dtype=torch.bfloat16)}
    with open_tensorfile(in_memory(state, metadata={"a": "b"})) as file:
        assert file.header.metadata == {"a": "b"}
        assert torch.equal(file.read("x"), state["x"])
        assert torch.equal(file.read("b"), state["b"])
        assert file.place_of(file.info("x")) is None


def test_reading_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the rows that are needed are copied, however the tensor lies in memory."""
    state = {
        "turned": torch.arange(12.0).reshape(3, 4).T,
        "image": torch.arange(96.0).reshape(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.0),
    }
    copied: list[int] = []

    def counting(tensor: torch.Tensor) -> memoryview:
        copied.append(len(tensor))
        return tensor_bytes(tensor)

    monkeypatch.setattr("loralathe.tensorfiles.memory.tensor_bytes", counting)
    with open_tensorfile(in_memory(state)) as file:
        for name, tensor in state.items():
            whole = bytes(tensor_bytes(tensor))
            for start, stop in ((0, len(whole)), (0, 3), (len(whole) // 2 - 1, len(whole) // 2 + 2)):
                found = bytearray(stop - start)
                file.readinto(file.info(name), memoryview(found), start)
                assert found == whole[start:stop]
    assert copied == [4, 1, 2, 2, 1, 2, 1, 1, 1]


@pytest.mark.parametrize(
    "array", [np.arange(3, dtype=">f4"), np.frombuffer(b"abcdefgh", "f4"), np.arange(6.0)[::-2]]
)
@pytest.mark.filterwarnings("error")
def test_arrays_of_any_order(array: np.ndarray) -> None:
    with open_tensorfile(in_memory({"x": array})) as file:
        assert np.array_equal(file.read("x").numpy(), array)


@pytest.mark.parametrize(
    "value",
    [
        [1.0],
        np.array([1 + 2j], dtype="complex256"),
        np.array(["x"]),
        torch.zeros(2, device="meta"),
        torch.eye(2).to_sparse(),
        torch.zeros(2, dtype=torch.complex128),
    ],
)
def test_what_is_no_tensor(value: object) -> None:
    with pytest.raises(InputError, match="'x'"):
        in_memory({"x": value})


def test_a_name_that_is_not_text() -> None:
    with pytest.raises(InputError, match="name is of the type int"):
        in_memory({1: torch.zeros(2)})  # type: ignore[dict-item]


@pytest.mark.long
@pytest.mark.parametrize("names", [("A", "B"), ("hina", "hina"), ("A", "B", "A")])
def test_comparing_looks_at_the_same_numbers(files: dict[str, Path], names: tuple[str, ...]) -> None:
    by_files = loralathe.compare(*(files[name] for name in names), threads=1)
    in_state_dicts = loralathe.compare(*(STATE[name] for name in names), threads=1)
    assert in_state_dicts.blocks == by_files.blocks
    assert in_state_dicts.total == by_files.total


def test_looking_at_a_state_dict(files: dict[str, Path]) -> None:
    assert loralathe.inspect(STATE["hina"]).adapter == loralathe.inspect(files["hina"]).adapter
    assert loralathe.block_norms(STATE["A"], threads=1) == loralathe.block_norms(files["A"], threads=1)
