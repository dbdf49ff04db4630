"""A model given as .ckpt makes the same output, byte for byte, as the same model as .safetensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from checkpoints import tiny_lora, write_safetensors
from engine.conftest import Family
from loralathe.engine import RunOptions, open_session, run_recipe
from loralathe.inspection import compare_files, inspect_file
from loralathe.language import Save, make_recipe
from loralathe.tensorfiles import model_hash

FORMULAS = {
    "merge": ("A + 0.7*lora", None),
    "half": ("A + 0.7*lora", "bf16"),
    "add difference": ("A + 0.5*(B - A)", None),
    "weighted sum": ("0.3*A + 0.7*B", "fp16"),
    "copy": ("A", None),
    "extract": ("extract(B - A, rank=4)", "fp16"),
}


@pytest.fixture(scope="module")
def pickled(sd1: Family, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A as a training checkpoint with every other matrix transposed, B as torch before 1.6, lora flat."""
    folder = tmp_path_factory.mktemp("pickled")
    odd = {
        key: tensor.t().contiguous().t() if tensor.ndim == 2 and len(key) % 2 else tensor
        for key, tensor in sd1.tensors["A"].items()
    }
    assert any(not tensor.is_contiguous() for tensor in odd.values())
    torch.save({"state_dict": odd, "global_step": 7}, folder / "A.ckpt")
    torch.save(sd1.tensors["B"], folder / "B.pt", _use_new_zipfile_serialization=False)
    torch.save(sd1.tensors["lora"], folder / "lora.bin")
    return {"A": folder / "A.ckpt", "B": folder / "B.pt", "lora": folder / "lora.bin"}


def run(inputs: dict[str, Path], formula: str, dtype: str | None, output: Path) -> str:
    recipe = make_recipe(inputs=inputs, steps={"x": formula}, saves=[Save("x", output, dtype)])
    run_recipe(recipe, RunOptions(threads=2, hash_inputs=False))
    return model_hash(output)


@pytest.mark.long
@pytest.mark.quick(1)
@pytest.mark.parametrize("name", FORMULAS)
def test_the_same_bytes(sd1: Family, pickled: dict[str, Path], tmp_path: Path, name: str) -> None:
    formula, dtype = FORMULAS[name]
    plain = {key: sd1.path(key) for key in pickled}
    wanted = run(plain, formula, dtype, tmp_path / "plain.safetensors")
    assert run(pickled, formula, dtype, tmp_path / "pickled.safetensors") == wanted
    mixed = {**plain, "A": pickled["A"]}
    assert run(mixed, formula, dtype, tmp_path / "mixed.safetensors") == wanted


def test_what_is_left_out_is_said(sd1: Family, tmp_path: Path) -> None:
    path = tmp_path / "t.ckpt"
    torch.save({"state_dict": sd1.tensors["A"], "ema": {"w": torch.ones(2)}, "epoch": 1}, path)
    recipe = make_recipe(inputs={"t": path}, steps={"x": "t"}, saves=[Save("x", tmp_path / "x.safetensors")])
    with open_session(recipe) as session:
        assert session.plan.warnings == ("t.ckpt holds 1 tensor beside the model, not read: ema, epoch",)


def test_inspect_sees_the_same(sd1: Family, pickled: dict[str, Path]) -> None:
    for name, path in pickled.items():
        seen, wanted = inspect_file(path), inspect_file(sd1.path(name))
        assert (seen.format, wanted.format) == ("pickle", "safetensors")
        for fact in ("kind", "what", "family", "layout", "tensors", "parameters", "dtypes", "checkpoint"):
            assert getattr(seen, fact) == getattr(wanted, fact), fact
        assert {part.name: part for part in seen.parts} == {part.name: part for part in wanted.parts}
        assert seen.adapter == wanted.adapter
    assert inspect_file(pickled["A"]).left_out == ("global_step",)


def test_compare_finds_no_difference(sd1: Family, pickled: dict[str, Path]) -> None:
    found = compare_files(sd1.path("A"), pickled["A"])
    assert (found.only_x, found.only_y, found.reshaped, found.recast) == ((), (), (), 0)
    assert found.total.items == found.total.equal > 600


def test_an_adapter_of_half_precision_alphas(sd1: Family, tmp_path: Path) -> None:
    lora = tiny_lora("sd1", rank=3, alpha=1.5, seed=9, dtype="BF16")
    lora = {key: value for key, value in lora.items() if key in sd1.tensors["lora"]}
    plain = write_safetensors(tmp_path / "l.safetensors", lora)
    torch.save({"state_dict": lora}, tmp_path / "l.pt")
    outputs = [
        run({"A": sd1.path("A"), "l": path}, "A - 0.4*l", None, tmp_path / f"{path.suffix}.safetensors")
        for path in (plain, tmp_path / "l.pt")
    ]
    assert outputs[0] == outputs[1]
