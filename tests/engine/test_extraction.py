"""docs/semantics.md §6: what an extraction writes, drops and reports."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from checkpoints import manifest, second_checkpoint, tiny_checkpoint, write_safetensors
from loralathe.engine import RunOptions, run_recipe
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe

from .reference import add_lora, as_float64, lora_delta, lora_names, targets


def modules_of(manifest_name: str) -> set[str]:
    return {key.split(".")[0] for key in manifest(manifest_name)}


@pytest.mark.long
@pytest.mark.quick(1)
def test_scope_is_that_of_kohya(whole_family, evaluate):
    """72 + 192 modules for SD 1.5, 264 + 722 for SDXL; with conv_rank 278 and 788 U-Net modules."""
    kind = "sd15" if whole_family.name == "sd1" else "sdxl"
    plain, report = evaluate(whole_family, "extract(B - A, rank=4)")
    assert set(lora_names(plain)) == modules_of(f"lora_kohya_{kind}_linear")
    assert report.extractions[0].written == len(lora_names(plain))
    conv, _ = evaluate(whole_family, "extract(B - A, rank=4, conv_rank=2)")
    assert set(lora_names(conv)) == modules_of(f"lora_kohya_{kind}_conv")
    shapes = {key.split(".")[0]: value.shape for key, value in conv.items() if "lora_down" in key}
    for name, shape in shapes.items():
        assert shape[0] == (2 if len(shape) == 4 and shape[2] == 3 else 4), name


def test_factors_are_the_best_of_their_rank(sd1, evaluate):
    """Against numpy's SVD in float64, fp16 factors included; linear layers, 1×1 and 3×3 convolutions."""
    lora, _ = evaluate(sd1, "extract(B - A, rank=8, conv_rank=8)")
    A, B = as_float64(sd1.tensors["A"]), as_float64(sd1.tensors["B"])
    for name in lora_names(lora):
        key = targets("sd1")[name].key
        matrix = (B[key] - A[key]).reshape(len(A[key]), -1)
        best = np.sqrt(np.square(np.linalg.svd(matrix, compute_uv=False)[8:]).sum())
        error = np.linalg.norm(matrix - lora_delta(lora, name))
        assert error <= 1.01 * best + 2e-3 * np.linalg.norm(matrix), name
        up, down = lora[f"{name}.lora_up.weight"].float(), lora[f"{name}.lora_down.weight"].float()
        assert float(up.norm()) == pytest.approx(float(down.norm()), rel=0.01), "√S on each side"


def test_randomized_is_as_good_as_exact(sd1, evaluate):
    fast, fast_report = evaluate(sd1, "extract(B - A, rank=16)", dtype="fp32")
    exact, exact_report = evaluate(sd1, "extract(B - A, rank=16, exact=True)", dtype="fp32")
    assert fast.keys() == exact.keys()
    ours, best = fast_report.extractions[0].total(), exact_report.extractions[0].total()
    assert ours.energy == pytest.approx(best.energy, rel=1e-6)
    assert ours.energy - ours.kept <= 1.005 * (best.energy - best.kept)


def test_report_adds_up_and_matches_the_file(sd1, evaluate):
    lora, report = evaluate(sd1, "extract(B - A, rank=8)", dtype="fp32")
    A, B = as_float64(sd1.tensors["A"]), as_float64(sd1.tensors["B"])
    energy = {key: float(np.square(B[key] - A[key]).sum()) for key in A}
    total = report.extractions[0].total()
    assert total.energy == pytest.approx(sum(energy.values()), rel=1e-5)
    kept = sum(float(np.square(lora_delta(lora, name)).sum()) for name in lora_names(lora))
    assert total.kept == pytest.approx(kept, rel=1e-4)
    inside = sum(energy[targets("sd1")[name].key] for name in lora_names(lora))
    assert total.outside == pytest.approx(sum(energy.values()) - inside, rel=1e-4)
    assert total.kept + total.truncated + total.noise + total.outside == pytest.approx(total.energy)
    blocks = {block.block: block for block in report.extractions[0].blocks()}
    assert sum(block.energy for block in blocks.values()) == pytest.approx(total.energy)
    assert {"TE1", "IN01", "MID", "OUT11", "VAE", "no block"} <= blocks.keys()


def make_tuned(folder, *, te: float, unet: float, rank: int, seed: int = 7):
    """Base and base + LoRA in fp16, with rms of the delta set apart for the encoder and the U-Net."""
    base = tiny_checkpoint("sd1", seed=1, width_divisor=4)
    generator = np.random.default_rng(seed)
    exact = as_float64(base)
    for name, place in targets("sd1").items():
        scale = te if name.startswith("lora_te") else unet
        if scale and place.key in exact and place.short is not None and exact[place.key].ndim == 2:
            out, inner = exact[place.key].shape
            delta = generator.standard_normal((out, rank)) @ generator.standard_normal((rank, inner))
            exact[place.key] = exact[place.key] + scale * delta / np.sqrt(rank)
    tuned = {
        key: torch.from_numpy(exact[key]).to(value.dtype) if key in exact else value
        for key, value in base.items()
    }
    return (
        write_safetensors(folder / "base.safetensors", base),
        write_safetensors(folder / "tuned.safetensors", tuned),
        exact,
        as_float64(base),
    )


@pytest.mark.parametrize(
    ("rms", "allowed", "times"),
    [
        pytest.param(1e-4, 0.02, 4, marks=pytest.mark.slow),
        (1e-3, 0.01, 1),
        pytest.param(1e-4, 0.02, 1, marks=pytest.mark.slow),
        pytest.param(1e-3, 0.01, 4, marks=pytest.mark.slow),
    ],
)
@pytest.mark.long
def test_round_trip_in_fp16(tmp_path, evaluate, rms, allowed, times):
    """Base of rms 0.03, delta of rank 4: recovered at its rank and at four times it."""
    base, tuned, exact, origin = make_tuned(tmp_path, te=rms, unet=rms, rank=4)
    lora, _ = evaluate(None, f"extract(T - A, rank={4 * times})", inputs={"A": base, "T": tuned})
    error = truth = 0.0
    for name in lora_names(lora):
        key = targets("sd1")[name].key
        delta = (exact[key] - origin[key]).reshape(len(exact[key]), -1)
        error += float(np.square(delta - lora_delta(lora, name)).sum())
        truth += float(np.square(delta).sum())
    assert np.sqrt(error / truth) <= allowed


@pytest.mark.long
def test_ranks_are_capped_at_the_noise_floor_and_said_so(tmp_path, evaluate):
    base, tuned, *_ = make_tuned(tmp_path, te=0.0, unet=1e-3, rank=4)
    lora, report = evaluate(None, "extract(T - A, rank=32)", inputs={"A": base, "T": tuned})
    ranks = [lora[key].shape[0] for key in lora if "lora_down" in key]
    # The floor is the expected largest value of noise; small layers scatter around it (Tracy–Widom).
    assert set(ranks) <= {4, 5}
    assert ranks.count(4) >= 0.9 * len(ranks)
    assert report.extractions[0].reasons["noise"] == len(lora_names(lora))
    assert not [name for name in lora_names(lora) if name.startswith("lora_te")]
    kept, _ = evaluate(None, "extract(T - A, rank=32, keep_noise=True)", inputs={"A": base, "T": tuned})
    assert {kept[key].shape[0] for key in kept if "lora_down" in key} == {32}


@pytest.mark.long
def test_text_encoders_are_judged_each_on_its_own(tmp_path, evaluate):
    """No global maximum: a weakly trained encoder is kept because it is above its own floor."""
    base, tuned, *_ = make_tuned(tmp_path, te=2e-4, unet=2e-3, rank=2)
    inputs = {"A": base, "T": tuned}
    lora, _ = evaluate(None, "extract(T - A, rank=2)", inputs=inputs)
    assert [name for name in lora_names(lora) if name.startswith("lora_te")]
    without, report = evaluate(None, "extract(T - A, rank=2, te1=False)", inputs=inputs)
    assert not [name for name in lora_names(without) if name.startswith("lora_te")]
    assert report.extractions[0].reasons["text encoder"] >= 72


def test_padded_ranks_change_no_delta(sd1, evaluate):
    plain, _ = evaluate(sd1, "extract(B - A, rank=64)", dtype="fp32")
    padded, _ = evaluate(sd1, "extract(B - A, rank=64, pad_ranks=True)", dtype="fp32")
    assert {padded[key].shape[0] for key in padded if "lora_down" in key} == {64}
    assert len({plain[key].shape[0] for key in plain if "lora_down" in key}) > 1
    for name in lora_names(plain):
        np.testing.assert_allclose(lora_delta(plain, name), lora_delta(padded, name), rtol=1e-5, atol=1e-9)


def test_one_alpha_and_its_metadata(sd1, evaluate, tmp_path):
    lora, report = evaluate(sd1, "extract(B - A, rank=24)")
    assert {float(value) for key, value in lora.items() if key.endswith(".alpha")} == {24.0}
    with safe_open(report.extractions[0].path, "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_dim"] == "24"
    assert metadata["ss_network_alpha"] == "24.0"
    assert metadata["ss_base_model_version"] == "sd_v1"
    assert len(metadata["sshs_model_hash"]) == 64


def test_equal_models_have_nothing_to_extract(sd1, evaluate):
    inputs = {"A": sd1.path("A"), "B": sd1.path("A")}
    with pytest.raises(InputError, match="nothing to write: nothing differs"):
        evaluate(sd1, "extract(B - A, rank=4)", inputs=inputs)


def test_what_a_lora_leaves_out_is_told_from_nothing(sd1, evaluate):
    with pytest.raises(InputError, match="in layers that this LoRA leaves out"):
        evaluate(sd1, "extract((A + lora(unet=0)) - A, rank=4, te1=0)")
    with pytest.raises(InputError, match="no layer differs by more than min_diff"):
        evaluate(sd1, "extract(B - A, rank=4, min_diff=9)")


def test_adapters_alone_are_joined_exactly_when_the_rank_suffices(sd1, evaluate):
    """Several LoRAs into one: ranks add up, nothing is squared and there are no cross terms."""
    result, report = evaluate(sd1, "extract(0.5*lora - 0.25*conv, rank=8, conv_rank=4)", dtype="fp32")
    for name in lora_names(result):
        expected = -0.25 * lora_delta(sd1.tensors["conv"], name)
        if name in lora_names(sd1.tensors["lora"]):
            expected = expected + 0.5 * lora_delta(sd1.tensors["lora"], name)
        np.testing.assert_allclose(lora_delta(result, name), expected, rtol=1e-4, atol=1e-6)
    assert set(lora_names(result)) == set(lora_names(sd1.tensors["conv"]))
    assert report.extractions[0].total().truncated == pytest.approx(0.0, abs=1e-6)


def test_saved_adapter_merges_back(sd1, evaluate, tmp_path):
    """extract → file → merge: what the file gives is what the report says is kept."""
    inputs = {"A": sd1.path("A"), "B": sd1.path("B")}
    output = tmp_path / "x.safetensors"
    recipe = make_recipe(
        inputs=inputs, steps={"x": "extract(B - A, rank=16)"}, saves=[Save("x", output, "fp32")]
    )
    report = run_recipe(recipe, RunOptions(hash_inputs=False))
    merged, _ = evaluate(sd1, "A + x", inputs={"A": sd1.path("A"), "x": output}, dtype="fp32")
    exact, _ = add_lora("sd1", as_float64(sd1.tensors["A"]), load_file(output), lambda *_: 1.0)
    moved = sum(
        float(np.square(merged[key].double().numpy() - value.double().numpy()).sum())
        for key, value in sd1.tensors["A"].items()
        if value.is_floating_point()
    )
    assert moved == pytest.approx(report.extractions[0].total().kept, rel=1e-3)
    assert all(np.allclose(merged[key].double().numpy(), exact[key], atol=1e-6) for key in exact)


def test_second_checkpoint_differs_everywhere():
    """Guards the fixture: deltas exist in biases, norms and the VAE too."""
    base = tiny_checkpoint("sd1", seed=1)
    other = second_checkpoint(base, 2e-3, seed=2)
    assert all(
        not torch.equal(base[key], other[key])
        for key in base
        if base[key].is_floating_point() and base[key].numel() > 1
    )
