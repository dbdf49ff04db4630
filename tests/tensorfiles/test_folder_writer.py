"""A folder of networks appears whole or not at all, its shards as diffusers names them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from loralathe.errors import InputError
from loralathe.tensorfiles import (
    FolderWriter,
    NetworkPlan,
    TensorSpec,
    made_folders,
    open_tensorfile,
    remove_stale,
)
from tensorfiles.helpers import leftovers

TENSORS = {name: torch.arange(16.0).reshape(4, 4) * (at + 1) for at, name in enumerate("abc")}
SPECS = [TensorSpec(name, "F32", (4, 4)) for name in TENSORS]
PLANS = [NetworkPlan("unet", "diffusion_pytorch_model", SPECS), NetworkPlan("vae", "model", SPECS[:1])]


def fill(writer: FolderWriter) -> None:
    for plan in PLANS:
        for spec in plan.specs:
            data = TENSORS[spec.name].numpy().tobytes()
            writer.write(plan.folder, spec.name, data[32:], 32)
            writer.write(plan.folder, spec.name, data[:32])


def test_files_are_cut_and_indexed(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with FolderWriter(target, PLANS, {"format": "pt", "note": "....."}, largest=2 * 64) as writer:
        fill(writer)
        writer.add_file("scheduler/scheduler_config.json", b"{}")
        assert writer.commit({"format": "pt", "note": "found"}) == target
    assert sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()) == [
        "scheduler/scheduler_config.json",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "vae/model.safetensors",
    ]
    index = json.loads((target / "unet" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 3 * 64}
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(target / "unet" / file)[name], TENSORS[name])
    with safe_open(str(target / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors"), "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "found"}
    with safe_open(str(target / "vae" / "model.safetensors"), "pt") as file:
        assert file.metadata() == {"format": "pt"}
    with open_tensorfile(target) as opened:
        assert opened.header.tensors.keys() == {"unet.a", "unet.b", "unet.c", "vae.a"}
    assert leftovers(tmp_path) == []


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "below" / "out"

    def interrupted() -> None:
        with made_folders([target]), FolderWriter(target, PLANS, {}, largest=64) as writer:
            fill(writer)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_byte_that_is_missing_leaves_nothing(tmp_path: Path) -> None:
    with (
        FolderWriter(tmp_path / "out", PLANS, {}, largest=64) as writer,
        pytest.raises(ValueError, match="never written"),
    ):
        writer.commit({})
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys, time
from pathlib import Path
from loralathe.tensorfiles import FolderWriter, NetworkPlan, TensorSpec
plan = NetworkPlan("unet", "model", [TensorSpec("a", "F32", (4, 4))])
writer = FolderWriter(Path(sys.argv[1]), [plan], {}, largest=64)
os.kill(os.getpid(), getattr(signal, sys.argv[2]))
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_process_that_ends_leaves_nothing_for_long(tmp_path: Path, name: str) -> None:
    target = tmp_path / "out"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(target), name], check=False)
    assert ended.returncode == -getattr(signal, name)
    if name == "SIGKILL":
        (left,) = tmp_path.iterdir()
        assert remove_stale(target) == [left]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_being_written_is_not_stale(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "out", PLANS, {}, largest=64) as writer:
        assert remove_stale(tmp_path / "out") == []
        fill(writer)
        writer.commit({})
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["full", "file", "x.safetensors", "full/inside"])
def test_what_is_there_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "full").mkdir()
    save_file(TENSORS, tmp_path / "full" / "mine.safetensors")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError):
        FolderWriter(tmp_path / name, PLANS, {}, largest=64, inputs=[tmp_path / "full"])
    assert sorted(os.listdir(tmp_path)) == ["file", "full"]
    assert os.listdir(tmp_path / "full") == ["mine.safetensors"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FolderWriter(tmp_path / "out", PLANS, {}, largest=1000) as writer:
        fill(writer)
        writer.commit({})
    assert load_file(tmp_path / "out" / "vae" / "model.safetensors").keys() == {"a"}
