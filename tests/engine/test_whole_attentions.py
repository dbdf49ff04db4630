"""A1111 uses OpenCLIP's q, k, v and out of an attention together or not at all; so we write all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import loralathe
from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import Report, RunOptions, run_recipe
from loralathe.language import Save, make_recipe

from .reference import lora_delta

ENCODER = {"sdxl": "lora_te2", "sd2": "lora_te"}
PARTS = ("q_proj", "k_proj", "v_proj", "out_proj")
FORMULAS = {
    "energy": "extract(T - A, energy=0.5)",
    "size": "extract(T - A, size='{size}')",
    "padded": "resize(lora(elements='BASE:v_proj:0'), rank=2, pad_ranks=1)",
    "joined": "combine(lora(elements='BASE:k_proj out_proj:0'))",
    "resized": "resize(lora(elements='BASE:v_proj:0'), rank=2)",
}
SIZE = {"sdxl": 150_000, "sd2": 130_000}


def read_by_a1111(tensors: dict[str, torch.Tensor], encoder: str) -> set[str]:
    """Modules of the encoder that it applies, by `network_apply_weights` in its Lora/networks.py."""
    names = {key.partition(".")[0] for key in tensors if key.startswith(f"{encoder}_text")}
    attentions = {name: re.sub(r"_(q_proj|k_proj|v_proj|out_proj)$", "", name) for name in names}
    return {
        name
        for name, attention in attentions.items()
        if name == attention or all(f"{attention}_{part}" in names for part in PARTS)
    }


@pytest.fixture(scope="module", params=["sdxl", "sd2"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A; T, whose changes differ much in size from layer to layer; a LoRA."""
    place = tmp_path_factory.mktemp(family)
    base = tiny_checkpoint(family, seed=1, dtype="F32")
    generator = torch.Generator().manual_seed(2)
    tuned = {
        key: tensor + 0.01 * float(torch.rand(1, generator=generator)) ** 4 * torch.randn(
            tensor.shape, generator=generator
        )
        if tensor.ndim > 1
        else tensor
        for key, tensor in base.items()
    }  # fmt: skip
    for key, tensor in tuned.items():
        if key.endswith("in_proj_weight"):  # q, k and v apart
            third = len(tensor) // 3
            tensor[third : 2 * third] = base[key][third : 2 * third]
    write_safetensors(place / "A.safetensors", base)
    write_safetensors(place / "T.safetensors", tuned)
    write_safetensors(place / "lora.safetensors", tiny_lora(family, rank=3, alpha=2, seed=3))
    return place


def made(folder: Path, formula: str, file: Path) -> Report:
    names = [name for name in ("A", "T", "lora") if re.search(rf"\b{name}\b", formula)]
    inputs = {name: folder / f"{name}.safetensors" for name in names}
    recipe = make_recipe(inputs=inputs, steps={"x": formula}, saves=[Save("x", file)])
    return run_recipe(recipe, RunOptions(threads=1))


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind == "size" else ()) for kind in FORMULAS]
)
@pytest.mark.long
def test_nothing_that_is_written_is_ignored(family: str, folder: Path, tmp_path: Path, kind: str) -> None:
    file, size = tmp_path / "x.safetensors", SIZE[family]
    report = made(folder, FORMULAS[kind].format(size=size), file)
    tensors, encoder = load_file(file), ENCODER[family]
    read = read_by_a1111(tensors, encoder)
    names = {key.partition(".")[0] for key in tensors}
    assert read == {name for name in names if name.startswith(f"{encoder}_text")}
    zeros = {name for name in names if not tensors[f"{name}.lora_up.weight"].any()}
    assert report.extractions[0].completed == len(zeros) > 0
    assert zeros <= read
    assert all(not lora_delta(tensors, name).any() for name in zeros)
    assert report.extractions[0].written == len(names) - len(zeros)
    assert len({float(tensor) for key, tensor in tensors.items() if key.endswith(".alpha")}) == 1
    if kind == "size":
        assert 0.9 * size < file.stat().st_size <= size
    assert [finding.what for finding in loralathe.verify(file, search=[folder]).findings] == []


@pytest.mark.long
@pytest.mark.quick(1)
def test_verification_misses_a_module_of_zeros(family: str, folder: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    file = tmp_path / "x.safetensors"
    made(folder, FORMULAS["joined"], file)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(file)
    lost = next(key for key in tensors if not tensors[key].any()).partition(".")[0]
    save_file(
        {key: value for key, value in tensors.items() if not key.startswith(f"{lost}.")}, file, metadata
    )
    findings = loralathe.verify(file, search=[folder]).findings
    assert [(found.place, found.what[:13]) for found in findings if found.place == lost] == [
        (lost, "it is missing")
    ]


@pytest.mark.parametrize("family", ["sd1"])
def test_other_encoders_are_read_layer_by_layer(family: str, tmp_path: Path) -> None:
    lora = tiny_lora(family, rank=3, alpha=2, seed=3)
    write_safetensors(tmp_path / "lora.safetensors", lora)
    report = made(tmp_path, FORMULAS["joined"], tmp_path / "x.safetensors")
    assert report.extractions[0].completed == 0
