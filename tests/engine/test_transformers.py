"""Newer transformers through the engine: merges, extraction, comparison and records on narrow files of each.

Names come from the manifests: a trainer's name is a flattened key. The arithmetic is float64 numpy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import loralathe
from checkpoints import FAMILIES, manifest, second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from engine.conftest import Family
from engine.reference import as_float64, assert_within_contract, lora_delta, lora_names
from loralathe.families import family_by_id
from loralathe.studies.weights import study_weights

UNET = "model.diffusion_model."
PREFIXES = {  # family → how names of LoRAs begin: how keys do
    "sd35m": {
        "lora_unet_": UNET,
        "lora_te1_": "text_encoders.clip_l.transformer.",
        "lora_te2_": "text_encoders.clip_g.transformer.",
    },
    "klein4b": {"lora_unet_": ""},
    "chroma": {"lora_unet_": ""},
}
OTHERS = re.compile(
    r"(first_stage_model|vae)\.(?!decoder\.conv_in)|(lora_te|text_encoders).*[._](layers|block)[._][1-9]"
)
"""What other tests have enough of: VAEs, the deeper layers of text encoders. Each tensor costs time."""
DIVISOR = 64
SPECS = {
    "sd35m": ("stable-diffusion-3-5-medium/lora", "networks.lora_sd3"),
    "klein4b": ("Flux.2-klein-4b/lora", "networks.lora_flux_2"),
    "chroma": ("chroma/lora", "networks.lora_flux"),
}
"""Architecture and module as the trainer notes them."""


def keys_of(name: str) -> dict[str, str]:
    """Name in a LoRA → key of its weight in the narrow file."""
    return {
        start + key.removeprefix(prefix).removesuffix(".weight").replace(".", "_"): key
        for start, prefix in PREFIXES[name].items()
        for key in manifest(FAMILIES[name][0])
        if key.startswith(prefix) and key.endswith(".weight")
    }


def some(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in tensors.items() if not OTHERS.match(key)}


@pytest.fixture(scope="module", params=PREFIXES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A, and B that is near it; a LoRA of all that the trainer changes."""
    folder = tmp_path_factory.mktemp(request.param)
    first = some(tiny_checkpoint(request.param, seed=1, dtype="BF16", width_divisor=DIVISOR))
    tensors = {
        "A": first,
        "B": second_checkpoint(first, 4e-3, seed=2),
        "lora": some(tiny_lora(request.param, rank=3, alpha=1.5, seed=3, width_divisor=DIVISOR)),
    }
    for name, held in tensors.items():
        write_safetensors(folder / f"{name}.safetensors", held)
    return Family(request.param, folder, tensors)


def check(
    model: Family, result: Mapping[str, torch.Tensor], strengths: Mapping[str, float], usual: float
) -> None:
    """Every module against the float64 sum, everything else byte for byte; strengths by blocks."""
    base, lora, keys = model.tensors["A"], model.tensors["lora"], keys_of(model.name)
    family = family_by_id(model.name)
    assert result.keys() == base.keys()
    weights, untouched = as_float64(base), set(base)
    for name in lora_names(lora):
        key = keys[name]
        change = strengths.get(family.block_of_key(key) or "", usual) * lora_delta(lora, name)
        if np.any(change):
            untouched.remove(key)
            assert_within_contract(result[key], weights[key] + change, weights[key], np.abs(change), key)
    assert len(untouched) < len(base)
    assert all(torch.equal(result[key], base[key]) for key in untouched)


def test_merging_is_the_float64_sum(model, evaluate):
    family = family_by_id(model.name)
    inputs = {"A": model.path("A"), "lora": model.path("lora")}
    result, report = evaluate(model, "A + 0.7*lora", inputs=inputs)
    check(model, result, {}, 0.7)
    assert report.coverage["lora"].unmatched == ()
    weights = {block: round(0.3 * place - 1, 2) for place, block in enumerate(family.long_blocks)}
    listed = ",".join(map(str, weights.values()))
    result, _ = evaluate(model, f"A + lora@'{listed}'", inputs=inputs)
    check(model, result, weights, 1.0)


def test_formulas_on_whole_models(model, evaluate):
    """Weighted sum by blocks, and add difference."""
    inputs = {"A": model.path("A"), "B": model.path("B")}
    block = family_by_id(model.name).short_blocks[0]
    result, _ = evaluate(model, f"A + 0.25*(B - A)@'{block}=2'", inputs=inputs)
    x, y = as_float64(model.tensors["A"]), as_float64(model.tensors["B"])
    family = family_by_id(model.name)
    for key, tensor in result.items():
        if family.rule_for_key(key):
            continue
        change = 0.25 * (2 if family.block_of_key(key) == block else 1) * (y[key] - x[key])
        assert_within_contract(tensor, x[key] + change, x[key], np.abs(x[key]), key)


def test_extraction_gives_the_merged_lora_back(model, evaluate, tmp_path):
    inputs = {"A": model.path("A"), "lora": model.path("lora")}
    merged, _ = evaluate(model, "A + lora", inputs=inputs, dtype="fp32")
    save_file(merged, tmp_path / "merged.safetensors")
    made = tmp_path / "made.safetensors"
    loralathe.extract(
        tmp_path / "merged.safetensors", model.path("A"), rank=3, output=made, dtype="fp32", threads=1
    )
    found, lora = load_file(made), model.tensors["lora"]
    assert lora_names(found) == lora_names(lora)
    for name in lora_names(lora):
        wanted = lora_delta(lora, name)
        assert np.linalg.norm(lora_delta(found, name) - wanted) <= 1e-5 * np.linalg.norm(wanted), name
    with safe_open(str(made), "pt") as file:
        metadata = file.metadata()
    assert (metadata["modelspec.architecture"], metadata["ss_network_module"]) == SPECS[model.name]
    assert json.loads(metadata["ss_network_args"]) == {}
    assert loralathe.inspect(made).family == model.name


def test_records_verify(model, tmp_path):
    output = tmp_path / "m.safetensors"
    loralathe.merge(model.path("A"), model.path("lora"), output=output, threads=1)
    found = loralathe.verify(output, search=[model.folder], everything=True, threads=1)
    assert (found.ok, found.total.checked) == (True, len(model.tensors["A"]))


def test_comparison_and_study_name_the_blocks(model):
    family, tensors = family_by_id(model.name), model.tensors
    found = loralathe.compare(model.path("A"), model.path("B"), threads=1)
    blocks = {family.block_of_key(key) for key in tensors["A"]} - {None}
    assert {one.block for one in found.blocks} - {"VAE", "no block", "other"} == blocks
    study = study_weights(model.path("A"), model.path("lora"), threads=1)
    keys = keys_of(model.name)
    assert {one.block for one in study.blocks} == {
        family.block_of_key(keys[name]) for name in lora_names(tensors["lora"])
    }


def test_the_transformer_has_a_prefix_or_none(model, evaluate, tmp_path):
    family, tensors = family_by_id(model.name), model.tensors["A"]
    keys = [key for key in tensors if family.component_of_key(key) == "unet"]
    half = {key: value for key, value in model.tensors["lora"].items() if key.startswith("lora_unet_")}
    lora = write_safetensors(tmp_path / "half.safetensors", half)
    found = {}
    for prefix in ("", UNET):
        held = {prefix + key.removeprefix(UNET): tensors[key] for key in keys}
        path = write_safetensors(Path(tmp_path / f"alone{len(prefix)}.safetensors"), held)
        found[prefix], _ = evaluate(model, "A + lora", inputs={"A": path, "lora": lora})
        assert found[prefix].keys() == held.keys()
    assert all(torch.equal(value, found[UNET][UNET + key]) for key, value in found[""].items())
