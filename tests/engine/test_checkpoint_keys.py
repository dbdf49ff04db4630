"""docs/semantics.md §4: which keys an output has, and what happens to those that are not weights."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from checkpoints import tiny_checkpoint, write_safetensors
from loralathe import verify
from loralathe.engine import RunOptions, open_session, run_recipe
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe


def run(tmp_path, formula, *, save=None, options=None, **tensors):
    inputs = {}
    for name, held in tensors.items():
        inputs[name] = (
            held if not isinstance(held, dict) else write_safetensors(tmp_path / f"{name}.safetensors", held)
        )
    output = tmp_path / "out.safetensors"
    recipe = make_recipe(inputs=inputs, steps={"x": formula}, saves=[save or Save("x", output)])
    report = run_recipe(recipe, options or RunOptions(hash_inputs=False, force=True))
    return load_file(output), report


@pytest.fixture(scope="module")
def A():
    return tiny_checkpoint("sd1", seed=1)


@pytest.fixture(scope="module")
def B():
    return tiny_checkpoint("sd1", seed=2)


def test_keys_are_those_of_the_first_checkpoint(tmp_path, A, B):
    first = {**A, "extra.note": torch.ones(3)}
    result, report = run(tmp_path, "0.5*A + 0.5*B", A=first, B=B)
    assert result.keys() == first.keys()
    assert torch.equal(result["extra.note"], torch.ones(3))
    assert report.weights[0].buckets["only in the first"] == 1
    assert "extra.note" in report.weights[0].notes[0]


def test_marks_integers_and_buffers_come_from_the_first(tmp_path, A, B):
    first = {**A, "v_pred": torch.empty(0), "betas": torch.linspace(0, 1, 10).double()}
    other = {**B, "v_pred": torch.empty(0), "betas": torch.zeros(10).double(), "ztsnr": torch.empty(0)}
    result, _ = run(
        tmp_path, "0.5*A + 0.5*B", A=first, B=other, save=Save("x", tmp_path / "out.safetensors", "bf16")
    )
    assert torch.equal(result["betas"], first["betas"])
    assert result["betas"].dtype == torch.float64
    ids = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    assert torch.equal(result[ids], A[ids])
    assert "ztsnr" not in result
    assert result["v_pred"].dtype == torch.float32
    assert result["model.diffusion_model.out.2.weight"].dtype == torch.bfloat16


def test_what_a_rule_keeps_but_is_no_buffer_is_cast_and_never_averaged(tmp_path, A, B):
    """A full-EMA checkpoint halves as a whole, but for the EMA's own counters."""
    copy, decay = "model_ema.diffusion_modelout2weight", "model_ema.decay"
    first = {**A, copy: torch.full((4, 3), 1 / 3), decay: torch.tensor(0.9999)}
    other = {**B, copy: torch.ones(4, 3), decay: torch.tensor(0.5)}
    save = Save("x", tmp_path / "out.safetensors", "fp16")
    result, report = run(tmp_path, "0.5*A + 0.5*B", A=first, B=other, save=save)
    assert torch.equal(result[copy], first[copy].half())
    assert torch.equal(result[decay], first[decay])
    assert report.weights[0].buckets["kept by rule"] == 3  # position_ids too


def test_keys_only_in_another_are_an_error_unless_a_rule_knows_them(tmp_path, A, B):
    other = {
        **B,
        "model_ema.decay": torch.zeros(()),
        "model.diffusion_model.input_blocks.0.0.odd": torch.ones(2),
    }
    with pytest.raises(InputError) as caught:
        run(tmp_path, "0.5*A + 0.5*B", A=A, B=other)
    assert "input_blocks.0.0.odd" in str(caught.value)
    assert "model_ema" not in str(caught.value)
    result, _ = run(
        tmp_path,
        "0.5*A + 0.5*B",
        A=A,
        B=other,
        options=RunOptions(allow_unmatched=True, hash_inputs=False, force=True),
    )
    assert result.keys() == A.keys()


def test_a_component_missing_elsewhere_is_taken_from_the_first(tmp_path, A, B):
    other = {key: value for key, value in B.items() if not key.startswith("first_stage_model.")}
    result, report = run(tmp_path, "0.5*A + 0.5*B", A=A, B=other)
    vae = [key for key in A if key.startswith("first_stage_model.")]
    assert all(torch.equal(result[key], A[key]) for key in vae)
    assert report.weights[0].buckets["only in the first"] == len(vae)
    key = "model.diffusion_model.out.2.weight"
    expected = (0.5 * A[key].double() + 0.5 * B[key].double()).half()
    assert torch.equal(result[key], expected)


def test_a_component_missing_in_the_first_is_ignored(tmp_path, A, B):
    first = {key: value for key, value in A.items() if not key.startswith("first_stage_model.")}
    result, _ = run(tmp_path, "0.5*A + 0.5*B", A=first, B=B)
    assert result.keys() == first.keys()


CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
BUT_CONV_IN = r"^(?!model\.diffusion_model\.input_blocks\.0\.)"
"""Discards what tests of the first layer do not look at."""


def test_inpainting_first_takes_part_with_its_first_four_channels(tmp_path, A, B):
    wide = tiny_checkpoint("sd1-inpainting", seed=3)
    result, _ = run(tmp_path, "W + 0.5*(B - A)", W=wide, A=A, B=B)
    expected = wide[CONV_IN].double()
    expected[:, :4] += 0.5 * (B[CONV_IN].double() - A[CONV_IN].double())
    assert torch.allclose(result[CONV_IN].double(), expected, atol=1e-4, rtol=1e-3)
    assert torch.equal(result[CONV_IN][:, 4:], wide[CONV_IN][:, 4:])
    with pytest.raises(InputError, match="put 'W' first: the result is then inpainting, too"):
        run(tmp_path, "A + 0.5*(W - B)", W=wide, A=A, B=B)


def test_each_output_has_the_further_channels_of_its_own_first(tmp_path, A):
    held = {name: tiny_checkpoint("sd1-inpainting", seed=seed) for name, seed in (("V", 5), ("W", 6))}
    inputs = {
        name: write_safetensors(tmp_path / f"{name}.safetensors", tensors)
        for name, tensors in {**held, "A": A}.items()
    }
    steps = {
        "x": "0.5*V + 0.5*A",
        "y": "0.5*W + 0.5*A",
        "ties_x": "V + 0.5*ties(W - V, A - V)",
        "ties_y": "W + 0.5*ties(W - V, A - V)",
    }

    def made(*names):
        saves = [Save(name, tmp_path / f"{name}.safetensors", "fp32", discard=BUT_CONV_IN) for name in names]
        recipe = make_recipe(inputs=inputs, steps=steps, saves=saves)
        run_recipe(recipe, RunOptions(hash_inputs=False, force=True))
        return [load_file(save.file)[CONV_IN] for save in saves]

    together = made(*steps)
    for result, name in zip(together, ("V", "W"), strict=False):
        assert torch.equal(result[:, :4], 0.5 * held[name][CONV_IN][:, :4].float() + 0.5 * A[CONV_IN].float())
        assert torch.equal(result[:, 4:], held[name][CONV_IN][:, 4:].float())
    for result, name in zip(together, steps, strict=True):
        assert torch.equal(result, made(name)[0])


def test_rounding_leaves_the_further_channels_alone(tmp_path, A, B):
    wide = tiny_checkpoint("sd1-inpainting", seed=3)
    wide[CONV_IN] = 1.0001 * wide[CONV_IN].float()  # what fp16 would change
    save = Save("x", tmp_path / "out.safetensors", "fp32", discard=BUT_CONV_IN)
    for number in ("fp16", "bf16"):
        result, _ = run(tmp_path, f"W + 0.5*({number}(B) - A)", save=save, W=wide, A=A, B=B)
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[number]
        added = 0.5 * (B[CONV_IN].to(dtype).double() - A[CONV_IN].double())
        assert torch.allclose(result[CONV_IN][:, :4].double(), wide[CONV_IN][:, :4] + added, atol=1e-7)
        assert torch.equal(result[CONV_IN][:, 4:], wide[CONV_IN][:, 4:])
        assert verify(tmp_path / "out.safetensors", everything=True).ok


@pytest.mark.long
@pytest.mark.quick(1)
@pytest.mark.parametrize("formula", ["0.5*A + 0.5*fp16(0.5*B + 0.5*C)", "0.5*A + 0.5*fp16(fp16(B) + C - A)"])
def test_what_is_rounded_has_the_keys_of_its_own_first(tmp_path, A, B, formula):
    without = {key: value for key, value in B.items() if not key.startswith("first_stage_model.")}
    first = tiny_checkpoint("sd1", seed=4)
    formula = formula.replace("- A", "- D")
    save = Save("x", tmp_path / "out.safetensors", "fp32", discard=r"^model\.diffusion_model\.output_blocks")
    result, report = run(tmp_path, formula, save=save, A=first, B=without, C=A, D=B)
    vae = [key for key in first if key.startswith("first_stage_model.")]
    assert all(torch.equal(result[key], first[key].float()) for key in vae)
    assert report.weights[0].buckets["only in the first"] == len(vae)
    assert verify(tmp_path / "out.safetensors", everything=True).ok


@pytest.mark.long
@pytest.mark.parametrize("poor", ["A", "B"])
def test_an_extraction_says_which_file_lacks_a_component(tmp_path, A, B, poor):
    unet = {key: value for key, value in A.items() if key.startswith("model.diffusion_model.")}
    files = {"A": A, "B": B, poor: unet if poor == "A" else {key: B[key] for key in unet}}
    _, report = run(tmp_path, "extract(A - B, rank=2)", **files)
    rich = "AB".replace(poor, "")
    assert report.warnings == (
        f"'{poor}' ({poor}.safetensors) has no text encoder 1 and no VAE: "
        f"what '{rich}' has there is not compared and not extracted",
    )


def test_float64_tensors_are_computed_and_stay_float64(tmp_path, A, B):
    key = "model.diffusion_model.out.2.weight"
    first = {**A, key: A[key].double()}
    result, _ = run(tmp_path, "0.5*A + 0.5*B", A=first, B=B)
    assert torch.equal(result[key], 0.5 * first[key] + 0.5 * B[key].double())


def test_different_shapes_and_families_are_refused(tmp_path, A):
    with pytest.raises(InputError, match="different shapes"):
        run(tmp_path, "0.5*A + 0.5*B", A=A, B=tiny_checkpoint("sd1", seed=1, width_divisor=32))
    with pytest.raises(InputError, match=r"different families[\s\S]*SD 1.5[\s\S]*SDXL"):
        run(tmp_path, "0.5*A + 0.5*B", A=A, B=tiny_checkpoint("sdxl", seed=1))


def test_v_and_epsilon_models_may_be_mixed_with_a_warning(tmp_path):
    first = tiny_checkpoint("sdxl", seed=1)
    inputs = {
        "A": write_safetensors(tmp_path / "A.safetensors", first),
        "B": write_safetensors(tmp_path / "B.safetensors", {**first, "v_pred": torch.empty(0)}),
    }
    recipe = make_recipe(
        inputs=inputs, steps={"x": "0.5*A + 0.5*B"}, saves=[Save("x", tmp_path / "o.safetensors")]
    )
    with open_session(recipe) as session:
        assert any("mixing prediction types" in warning for warning in session.plan.warnings)


def test_metadata_is_kept_and_extended_without_paths_or_dates(tmp_path, A):
    source = write_safetensors(
        tmp_path / "A.safetensors", A, {"author": "me", "modelspec.hash_sha256": "old"}
    )
    recipe = make_recipe(
        inputs={"A": source}, steps={"x": "A"}, saves=[Save("x", tmp_path / "x.safetensors")]
    )
    run_recipe(recipe)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["author"] == "me"
    assert "modelspec.hash_sha256" not in metadata
    assert '"steps":{"x":"A"}' in metadata["loralathe"]
    assert str(tmp_path) not in "".join(metadata.values())


def test_discard_leaves_tensors_out(tmp_path, A):
    save = Save("x", tmp_path / "out.safetensors", discard=r"^first_stage_model\.")
    result, report = run(tmp_path, "A", A=A, save=save)
    assert not [key for key in result if key.startswith("first_stage_model.")]
    assert report.weights[0].discarded == 248
    with pytest.raises(InputError, match="matches no tensor"):
        run(tmp_path, "A", A=A, save=Save("x", tmp_path / "out.safetensors", discard="nothing"))


@pytest.mark.long
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_in_what_is_computed_names_file_and_tensor(tmp_path, A, B, value):
    key = "model.diffusion_model.out.2.weight"
    broken = {**B, key: torch.full_like(B[key], value)}
    with pytest.raises(InputError) as caught:
        run(tmp_path, "0.5*A + 0.5*B", A=A, B=broken)
    assert key in str(caught.value)
    assert "B.safetensors" in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_copied_tensors_are_looked_at_on_request(tmp_path, A):
    key = "first_stage_model.decoder.conv_in.weight"
    broken = {**A, key: torch.full_like(A[key], float("nan"))}
    result, _ = run(tmp_path, "A", A=broken)
    assert bool(result[key].isnan().all())
    with pytest.raises(InputError, match="NaN or Inf"):
        run(tmp_path, "A", A=broken, options=RunOptions(check_finite=True, hash_inputs=False, force=True))


def test_a_cast_that_overflows_names_the_tensor(tmp_path, A):
    key = "model.diffusion_model.out.2.weight"
    large = {name: value.float() if value.is_floating_point() else value for name, value in A.items()}
    large[key] = torch.full_like(large[key], 1e5)
    with pytest.raises(InputError, match=rf"the result reaches 1e\+05, (.|\n)*'{key}'"):
        run(tmp_path, "A", A=large, save=Save("x", tmp_path / "out.safetensors", "fp16"))
