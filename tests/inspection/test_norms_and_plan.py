"""Norms per block against numpy; what a plan reads."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import input_uses, open_session
from loralathe.errors import InputError
from loralathe.families.sd1 import SD1
from loralathe.inspection import block_norms
from loralathe.language import Save, make_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    first = tiny_checkpoint("sd1", seed=1, width_divisor=32)
    write_safetensors(path / "a.safetensors", first)
    write_safetensors(path / "b.safetensors", second_checkpoint(first, 0.003, 2))
    lora = tiny_lora("sd1", rank=4, alpha=2, conv_rank=2, seed=5, width_divisor=32)
    write_safetensors(path / "l.safetensors", lora)
    return path


def test_norms_of_weights(folder: Path) -> None:
    tensors = tiny_checkpoint("sd1", seed=1, width_divisor=32)
    norms = {norm.block: norm for norm in block_norms(folder / "a.safetensors")}
    middle = [value.double() for key, value in tensors.items() if SD1.block_of_key(key) == "MID"]
    squares = math.fsum(float(value.square().sum()) for value in middle)
    assert norms["MID"].items == len(middle)
    assert norms["MID"].norm == pytest.approx(math.sqrt(squares), rel=1e-6)
    assert norms["MID"].rms == pytest.approx(math.sqrt(squares / sum(v.numel() for v in middle)), rel=1e-6)
    total = norms["total"]
    assert total.norm == pytest.approx(math.sqrt(sum(n.norm**2 for b, n in norms.items() if b != "total")))


def test_norms_of_deltas(folder: Path) -> None:
    lora = tiny_lora("sd1", rank=4, alpha=2, conv_rank=2, seed=5, width_divisor=32)
    norms = {norm.block: norm for norm in block_norms(folder / "l.safetensors")}
    squares = []
    for key in lora:
        if key.endswith("lora_down.weight") and "mid_block" in key:
            up = lora[key.replace("down.weight", "up.weight")].double().numpy()
            down = lora[key].double().numpy()
            delta = 2 / down.shape[0] * up.reshape(up.shape[0], -1) @ down.reshape(down.shape[0], -1)
            squares.append(float((delta**2).sum()))
    assert norms["MID"].items == len(squares)
    assert norms["MID"].norm == pytest.approx(math.sqrt(math.fsum(squares)), rel=1e-5)


def test_broken_tensors_are_counted(tmp_path: Path) -> None:
    tensors = {"x.a": torch.tensor([1.0, float("nan")]), "x.b": torch.tensor([3.0, 4.0])}
    *_, total = block_norms(write_safetensors(tmp_path / "x.safetensors", tensors))
    assert (total.items, total.broken, total.norm) == (2, 1, 5.0)


def test_large_tensors_are_read_in_pieces(tmp_path: Path) -> None:
    values = torch.randn(3, 700_001, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    *_, total = block_norms(write_safetensors(tmp_path / "x.safetensors", {"x.weight": values}))
    assert total.norm == pytest.approx(float(np.linalg.norm(values.double().numpy())), rel=1e-6)


def test_kinds_that_are_not_read_are_named(tmp_path: Path) -> None:
    glora = {
        f"lora_unet_mid_block_attentions_0_proj_in.{x}{n}.weight": torch.ones(2, 2)
        for n in (1, 2)
        for x in "ab"
    }
    with pytest.raises(InputError, match="GLoRA"):
        block_norms(write_safetensors(tmp_path / "x.safetensors", glora))


def test_a_plan_knows_what_it_reads(folder: Path, tmp_path: Path) -> None:
    recipe = make_recipe(
        inputs={name: folder / f"{name.lower()}.safetensors" for name in ("A", "B", "L")},
        steps={
            "lora": "extract((A + 0.5*L) - A, rank=2, conv_rank=2)",
            "back": "B + 0*L",
        },
        saves=[Save("lora", tmp_path / "lora.safetensors")],
    )
    with open_session(recipe) as session:
        uses = {use.name: use for use in input_uses(session)}
    assert list(uses) == ["A", "L"]
    assert (uses["A"].tensors, uses["A"].nbytes) == (0, 0)
    assert uses["L"].nbytes == uses["L"].of


def test_a_plan_reads_the_primary_whole(folder: Path, tmp_path: Path) -> None:
    recipe = make_recipe(
        inputs={"A": folder / "a.safetensors", "L": folder / "l.safetensors"},
        steps={"x": "A + L@MIDD"},
        saves=[Save("x", tmp_path / "x.safetensors")],
    )
    with open_session(recipe) as session:
        uses = {use.name: use for use in input_uses(session)}
    assert uses["A"].nbytes == uses["A"].of
    assert 0 < uses["L"].nbytes < uses["L"].of


def test_errors_of_threads_come_out_and_stop_the_rest() -> None:
    from loralathe.engine import in_parallel
    from loralathe.progress import Progress

    done: list[int] = []

    def work(item: int) -> int:
        done.append(item)
        if item == 3:
            raise InputError("three")
        return item

    with Progress().task("x", 10) as task:
        assert in_parallel(range(3), work, lambda _: 1, task, 2, lambda _: 2 << 30) == [0, 1, 2]
        with pytest.raises(InputError, match="three"):
            in_parallel(range(3, 5000), work, lambda _: 1, task, 1)
    assert len(done) < 5000
