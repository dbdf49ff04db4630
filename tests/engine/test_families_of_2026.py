"""Transformers of 2025 and 2026 through the engine: float64 numpy, names and blocks from the manifests."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import loralathe
from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, tiny_specs, write_safetensors
from engine.conftest import Family
from engine.reference import as_float64, assert_within_contract, lora_delta, lora_names
from loralathe.inspection import inspect_file
from loralathe.studies.weights import study_weights

UNET = "model.diffusion_model."
LABELS = {
    "zimage": "Z-Image",
    "qwen-image": "Qwen-Image",
    "qwen-image-2.1": "Qwen-Image 2.1",
    "krea2": "Krea 2",
    "anima": "Anima",
}
WHOLE_ROWS = {"noise_refiner": "NR", "context_refiner": "CR", "txtfusion": "TXT"}
_MADE: dict[str, Family] = {}


@pytest.fixture(params=LABELS)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A with ComfyUI's prefix and B without, in bf16, and two LoRAs; made once for each family."""
    name = request.param
    if name not in _MADE:
        folder = tmp_path_factory.mktemp(name)
        a = tiny_checkpoint(name, seed=1, dtype="BF16")
        b = second_checkpoint(a, 4e-3, seed=2)
        tensors = {"A": {UNET + key: value for key, value in a.items()}, "B": b}
        for key, seed in (("lora", 3), ("two", 4)):
            tensors[key] = tiny_lora(name, rank=3, alpha=2.0, seed=seed)
        for key, held in tensors.items():
            write_safetensors(folder / f"{key}.safetensors", held)
        _MADE[name] = Family(name, folder, tensors)
    return _MADE[name]


def key_of(family: Family) -> dict[str, str]:
    """kohya name → key of its weight, without prefix."""
    keys = (key for key in tiny_specs(family.name) if key.endswith(".weight"))
    return {f"lora_unet_{key.removesuffix('.weight').replace('.', '_')}": key for key in keys}


def block_of(key: str) -> str | None:
    """Of a key without prefix; None for what is before and after the blocks."""
    start = key.partition(".")[0]
    if start in WHOLE_ROWS:
        return WHOLE_ROWS[start]
    numbered = re.match(r"(?:transformer_blocks|blocks|layers)\.(\d+)\.", key)
    return f"B{int(numbered[1]):02d}" if numbered else None


def check(
    base: dict[str, torch.Tensor],
    result: dict[str, torch.Tensor],
    changes: dict[str, np.ndarray],
    prefix: str = UNET,
) -> None:
    """Changed tensors against the float64 sum, all others byte for byte."""
    assert result.keys() == base.keys()
    weights = as_float64(base)
    for key, before in base.items():
        change = changes.get(key.removeprefix(prefix))
        if change is None or not np.any(change):
            assert torch.equal(result[key], before), key
        else:
            assert_within_contract(result[key], weights[key] + change, weights[key], np.abs(change), key)


def changes_of(family: Family, strength: Callable[[str], float], lora: str = "lora") -> dict[str, np.ndarray]:
    keys, tensors = key_of(family), family.tensors[lora]
    return {keys[name]: strength(keys[name]) * lora_delta(tensors, name) for name in lora_names(tensors)}


def inputs_of(family: Family, *names: str) -> dict[str, Path]:
    return {name: family.path(name) for name in names}


def test_merging_is_the_float64_sum(family, evaluate):
    formula = "A + 0.7*lora@'B00=0,B01=-0.5,IN=3'"
    result, report = evaluate(family, formula, inputs=inputs_of(family, "A", "lora"))
    weights = {"B00": 0.0, "B01": -0.5}
    first = ("first.", "tmlp.", "tproj.", "txtmlp.")  # of Krea 2, whose trainer trains them, too
    expected = changes_of(
        family, lambda key: 0.7 * (3.0 if key.startswith(first) else weights.get(block_of(key), 1.0))
    )
    check(family.tensors["A"], result, expected)
    assert report.coverage["lora"].unmatched == ()


def test_files_with_and_without_prefix_meet(family, evaluate):
    result, _ = evaluate(family, "B + 0.25*(A - B)@'B01=2'", inputs=inputs_of(family, "A", "B"))
    a, b = as_float64(family.tensors["A"]), as_float64(family.tensors["B"])
    assert result.keys() == b.keys()
    for key, tensor in result.items():
        factor = 0.25 * (2.0 if block_of(key) == "B01" else 1.0)
        change = factor * (a[UNET + key] - b[key])
        assert_within_contract(tensor, b[key] + change, b[key], np.abs(factor * b[key]) * 2, key)


def test_extraction_gives_the_merged_lora_back(family, tmp_path):
    merged, output = tmp_path / "merged.safetensors", tmp_path / "found.safetensors"
    loralathe.merge(family.path("B"), family.path("lora"), output=merged, dtype="fp32", threads=1)
    loralathe.extract(merged, family.path("B"), rank=3, output=output, dtype="fp32", threads=1)
    found, lora = load_file(output), family.tensors["lora"]
    assert lora_names(found) == lora_names(lora)
    for name in lora_names(lora):
        wanted, got = lora_delta(lora, name), lora_delta(found, name)
        assert np.linalg.norm(got - wanted) <= 1e-5 * np.linalg.norm(wanted), name
    with safe_open(str(output), "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_module"].startswith("networks.lora_")
    assert "modelspec.prediction_type" not in metadata
    report = loralathe.verify(merged, search=[family.folder], everything=True, threads=1)
    assert report.ok


def test_looking(family):
    label = LABELS[family.name]
    assert inspect_file(family.path("B")).what.startswith(f"{label} checkpoint")
    assert inspect_file(family.path("lora")).what.startswith(f"LoRA for {label}")
    compared = loralathe.compare(family.path("A"), family.path("B"), threads=1)
    assert (compared.only_x, compared.only_y) == ((), ())
    blocks = {block_of(key) for key in tiny_specs(family.name)} - {None}
    assert blocks < {block.block for block in compared.blocks}
    study = study_weights(family.path("A"), family.path("lora"), threads=1)
    lora, base = family.tensors["lora"], as_float64(family.tensors["A"])
    keys = key_of(family)
    names = [name for name in lora_names(lora) if block_of(keys[name]) == "B01"]
    delta = np.sqrt(sum(np.sum(lora_delta(lora, name) ** 2) for name in names))
    weight = np.sqrt(sum(np.sum(base[UNET + keys[name]] ** 2) for name in names))
    (row,) = (block for block in study.blocks if block.block == "B01")
    assert row.modules == len(names) > 3
    assert row.ratio == pytest.approx(delta / weight, rel=1e-5)


def test_factors_need_no_base(family, tmp_path):
    both, small = tmp_path / "both.safetensors", tmp_path / "small.safetensors"
    loralathe.combine(family.path("lora"), family.path("two"), output=both, dtype="fp32", threads=1)
    loralathe.resize(both, rank=2, output=small, dtype="fp32", threads=1)
    found, resized = load_file(both), load_file(small)
    assert lora_names(found) == lora_names(resized) == lora_names(family.tensors["lora"])
    for name in lora_names(found):
        wanted = lora_delta(family.tensors["lora"], name) + lora_delta(family.tensors["two"], name)
        assert np.linalg.norm(lora_delta(found, name) - wanted) <= 1e-5 * np.linalg.norm(wanted), name
        values = np.linalg.svd(wanted, compute_uv=False)
        lost = np.linalg.norm(lora_delta(resized, name) - wanted)
        assert lost == pytest.approx(np.linalg.norm(values[2:]), rel=1e-4, abs=1e-6), name
