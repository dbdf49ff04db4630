"""Modes of LyCORIS and kohya, joined and resized adapters, and what a saved adapter tells of its makers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import RunOptions, run_recipe
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe

from .reference import lora_delta, lora_names, targets

NAMES = ("A", "T", "hina", "style")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("rules")
    base = tiny_checkpoint("sd1", seed=1, width_divisor=32, dtype="F32")
    write_safetensors(place / "A.safetensors", base)
    write_safetensors(place / "T.safetensors", second_checkpoint(base, 3e-3, seed=2))
    hina = tiny_lora("sd1", rank=4, alpha=2, seed=5, width_divisor=32)
    tags = {"ss_tag_frequency": json.dumps({"hina": {"girl": 3}}), "ss_output_name": "old", "ss_epoch": "9"}
    write_safetensors(place / "hina.safetensors", hina, tags)
    style = tiny_lora("sd1", rank=3, alpha=4, conv_rank=2, seed=6, width_divisor=32)
    tags = {"ss_tag_frequency": json.dumps({"hina": {"cat": 1}, "style": {"ink": 2}})}
    write_safetensors(place / "style.safetensors", style, tags)
    return place


@pytest.fixture
def make(folder, tmp_path):
    def run(formula: str, dtype: str | None = "fp32", metadata: str = "new"):
        file = tmp_path / f"x{len(list(tmp_path.iterdir()))}.safetensors"
        recipe = make_recipe(
            inputs={name: folder / f"{name}.safetensors" for name in NAMES if name in formula},
            steps={"x": formula},
            saves=[Save("x", file, dtype, adapter_metadata=metadata)],
        )
        report = run_recipe(recipe, RunOptions(hash_inputs=False, threads=2))
        return load_file(file), report.extractions[0], file

    return run


@cache
def held(folder, name):
    return load_file(folder / f"{name}.safetensors")


@cache
def difference(folder, name):
    """T - A of one module as a matrix in float64."""
    key = targets("sd1")[name].key
    A, T = (held(folder, file)[key].double().numpy() for file in ("A", "T"))
    return (T - A).reshape(len(A), -1)


def wanted_rank(kind, parameter, S):
    if kind in ("threshold", "ratio"):
        return max(1, int((parameter * (S[0] if kind == "ratio" else 1) < S).sum()))
    sums = np.cumsum(S if kind == "quantile" else S**2)
    share = parameter if kind == "quantile" else parameter**2
    return 1 + int((sums < share * sums[-1]).sum())


@pytest.mark.long
@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("kind", "parameter", "conv"),
    [("threshold", 0.02, 0.05), ("ratio", 0.6, 0.8), ("quantile", 0.5, 0.3), ("fro", 0.7, 0.5)],
)
def test_each_layer_by_its_own_spectrum(make, folder, kind, parameter, conv):
    lora, report, _ = make(f"extract(T - A, {kind}={parameter}, conv_{kind}={conv}, keep_noise=True)")
    names = lora_names(lora)
    assert len(names) == 350, "72 + 278: convolutions come with their own parameter"
    for name in names[::5]:
        down = lora[f"{name}.lora_down.weight"]
        S = np.linalg.svd(difference(folder, name), compute_uv=False)
        kernel = down.ndim == 4 and down.shape[2] == 3
        assert down.shape[0] == wanted_rank(kind, conv if kernel else parameter, S), name
    assert report.reasons["rule"] > 300
    assert report.rank is None


def test_rank_caps_a_rule(make):
    lora, report, _ = make("extract(T - A, ratio=0.1, rank=3, keep_noise=True)")
    assert {value.shape[0] for key, value in lora.items() if "lora_down" in key} == {3}
    assert report.reasons["requested"] == 264


def test_full_is_the_difference_itself(make, folder):
    """LyCORIS writes `.diff`, which few programs read; at full rank every LoRA reader gets the same."""
    lora, _, _ = make("extract(T - A, full=True)")
    for name in lora_names(lora)[::7]:
        np.testing.assert_allclose(lora_delta(lora, name), difference(folder, name), atol=2e-7)


def test_small_differences_are_left_out(make, folder):
    """Half of the layers: those whose largest difference is above the median of all."""
    plain, _, _ = make("extract(T - A, rank=1)")
    largest = {name: np.abs(difference(folder, name)).max() for name in lora_names(plain)}
    limit = float(np.median(list(largest.values())))
    lora, report, _ = make(f"extract(T - A, rank=1, min_diff={limit})")
    assert set(lora_names(lora)) == {name for name, value in largest.items() if value > limit}
    assert report.reasons["small"] == len(largest) - len(lora_names(lora))


def test_alpha_A_less_beta_B(make, folder):
    lora, _, _ = make("extract(1.5*T - A, full=True, unbalanced=True)")
    name = lora_names(lora)[3]
    key = targets("sd1")[name].key
    A, T = (held(folder, n)[key].double().numpy() for n in ("A", "T"))
    np.testing.assert_allclose(lora_delta(lora, name), 1.5 * T - A, atol=1e-6)
    with pytest.raises(InputError, match="needs a delta"):
        make("extract(1.5*T - A, rank=4)")


def expected_sum(folder, name):
    """0.7·hina (text encoder at half) − 0.5·style in OUT03, from the files."""
    total = 0.0
    hina, style = (held(folder, n) for n in ("hina", "style"))
    if f"{name}.alpha" in hina:
        total = 0.7 * (0.5 if name.startswith("lora_te") else 1.0) * lora_delta(hina, name)
    if targets("sd1")[name].long == "OUT03":
        total = total - 0.5 * lora_delta(style, name)
    return total


COMBINED = "combine(0.7*hina(te=0.5) - 0.5*style@'*=0,OUT03=1')"


def test_combining_is_exact_and_ranks_add(make, folder):
    lora, report, _ = make(COMBINED)
    for name in lora_names(lora):
        np.testing.assert_allclose(lora_delta(lora, name), expected_sum(folder, name), rtol=1e-5, atol=1e-8)
    ranks = {name: lora[f"{name}.lora_down.weight"].shape[0] for name in lora_names(lora)}
    blocks = {name: targets("sd1")[name].long for name in ranks}
    assert {rank for name, rank in ranks.items() if blocks[name] != "OUT03"} == {4}
    assert {rank for name, rank in ranks.items() if blocks[name] == "OUT03"} == {7, 3, 2}
    assert report.total().kept == pytest.approx(report.total().energy)
    assert report.reasons["joined"] == len(ranks)


def test_a_joined_file_in_fp16_loses_one_rounding_only(make, folder):
    lora, _, _ = make(COMBINED, dtype=None)
    for name in lora_names(lora)[::9]:
        expected = expected_sum(folder, name)
        error = np.linalg.norm(lora_delta(lora, name) - expected) / np.linalg.norm(expected)
        assert error < 6e-4, name


def test_combining_at_a_rank_is_the_best_approximation(make, folder):
    lora, report, _ = make("combine(hina, 0.5*style, rank=2)")
    hina, style = (held(folder, n) for n in ("hina", "style"))
    for name in lora_names(lora)[::11]:
        total = 0.5 * lora_delta(style, name)
        if f"{name}.alpha" in hina:
            total = total + lora_delta(hina, name)
        best = np.sqrt(np.square(np.linalg.svd(total, compute_uv=False)[2:]).sum())
        assert np.linalg.norm(total - lora_delta(lora, name)) <= best * (1 + 1e-4) + 1e-6 * np.linalg.norm(
            total
        ), name
    assert len(lora_names(lora)) == 350, "convolutions that the adapters hold are kept"
    assert report.reasons["requested"] > 0


def test_resize_by_kohyas_fro(make, folder):
    lora, report, _ = make("resize(hina, fro=0.9)")
    source = held(folder, "hina")
    for name in lora_names(lora)[::13]:
        S = np.linalg.svd(lora_delta(source, name), compute_uv=False)
        assert lora[f"{name}.lora_down.weight"].shape[0] == wanted_rank("fro", 0.9, S), name
    assert report.reasons["rule"] > 0


def test_resize_beyond_the_rank_changes_nothing(make, folder):
    lora, report, _ = make("resize(hina, rank=16)")
    source = held(folder, "hina")
    for name in lora_names(lora)[::13]:
        np.testing.assert_allclose(lora_delta(lora, name), lora_delta(source, name), atol=1e-6)
    assert report.reasons["exhausted"] == 264


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("extract(T - A, energy=1.5)", "not a share"),
        ("extract(T - A, energy=0.9, size='1MB')", "both choose the ranks"),
        ("extract(T - A, size='big')", "not a size"),
        ("extract(T - A, ratio=2)", "out of range"),
        ("extract(T - A, conv_ratio=0.1)", "stands beside ratio="),
        ("extract(T - A, energy=0.9, pad_ranks=True)", "pad_ranks needs one rank"),
        ("extract(T - A, rank='4')", "is a number"),
        ("combine(T - A)", "works on factors"),
        ("combine(T)", "needs a delta"),
        ("resize(hina)", "needs the new size"),
        ("resize(hina, style, rank=2)", "takes one value"),
        ("combine(hina, conv_rank=2)", "stands beside rank="),
    ],
)
def test_refusals(make, formula, message):
    with pytest.raises(InputError, match=message):
        make(formula)


def metadata_of(file):
    with safe_open(file, "pt") as opened:
        return opened.metadata()


@pytest.mark.long
def test_metadata_modes(make):
    formula = "combine(hina, style)"
    new = metadata_of(make(formula, metadata="new")[2])
    assert "ss_epoch" not in new
    first = metadata_of(make(formula, metadata="first")[2])
    assert first["ss_epoch"] == "9"
    assert first["ss_output_name"] != "old"
    assert first["ss_network_dim"] == "Dynamic", "never what the first LoRA had"
    assert json.loads(first["ss_tag_frequency"]) == {"hina": {"girl": 3}}
    every = metadata_of(make(formula, metadata="all")[2])
    assert json.loads(every["sshs_cp1"])["ss_tag_frequency"]
    assert json.loads(every["ss_tag_frequency"]) == {"hina": {"girl": 3}}
    merged = metadata_of(make(formula, metadata="merge")[2])
    assert json.loads(merged["ss_tag_frequency"]) == {"hina": {"girl": 3}, "style": {"ink": 2}}
    minimal = metadata_of(make(formula, metadata="minimal")[2])
    assert "loralathe" not in minimal
    assert not [key for key in minimal if key.startswith("modelspec")]
    assert minimal["ss_base_model_version"] == "sd_v1"
    with pytest.raises(InputError, match="metadata could be taken over"):
        make("extract(T - A, rank=1)", metadata="first")
