"""Joining files: the union, byte for byte, whatever the order of the parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from loralathe.errors import InputError
from loralathe.tensorfiles import join_files


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path]:
    one = {"b": torch.randn(3, 5).half(), "ids": torch.arange(7)[None], "mark": torch.zeros(0)}
    two = {"a": torch.randn(4), "c": torch.randn(2, 2, 2).bfloat16()}
    save_file(one, tmp_path / "one.safetensors", {"title": "one"})
    save_file(two, tmp_path / "two.safetensors", {"title": "two"})
    return tmp_path / "one.safetensors", tmp_path / "two.safetensors"


def test_the_union_is_read_by_the_official_library(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    out = join_files(parts, tmp_path / "all.safetensors")
    whole, expected = load_file(out), load_file(parts[0]) | load_file(parts[1])
    assert whole.keys() == expected.keys()
    assert all(torch.equal(whole[name], tensor) for name, tensor in expected.items())
    assert all(whole[name].dtype == tensor.dtype for name, tensor in expected.items())
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"title": "one"}


def test_the_order_of_the_parts_does_not_matter(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    one = join_files(parts, tmp_path / "x.safetensors", metadata={"title": "both"})
    other = join_files(parts[::-1], tmp_path / "y.safetensors", metadata={"title": "both"})
    assert one.read_bytes() == other.read_bytes()


def test_parts_that_overlap_are_refused(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    save_file({"a": torch.zeros(4)}, tmp_path / "three.safetensors")
    with pytest.raises(InputError, match="two parts have the tensor 'a'"):
        join_files([*parts, tmp_path / "three.safetensors"], tmp_path / "all.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one.safetensors",
        "three.safetensors",
        "two.safetensors",
    ]


def test_a_part_is_never_the_output(parts: tuple[Path, Path]) -> None:
    before = parts[0].read_bytes()
    with pytest.raises(InputError):
        join_files(parts, parts[0], force=True)
    assert parts[0].read_bytes() == before
