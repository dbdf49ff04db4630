"""Models of one family that differ in a few tensors: what an extraction needs, what a sum leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import tiny_checkpoint, write_safetensors
from loralathe import verify
from loralathe.engine import Report, RunOptions, run_recipe
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe
from rendering.conftest import shallow

Tensors = dict[str, torch.Tensor]
CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
TABLE = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
VAE = "first_stage_model.decoder.conv_in.weight"
PROJECTION = "model.diffusion_model.middle_block.1.proj_in.weight"


def run(tmp_path: Path, formula: str, *, allow: bool = False, **held: Tensors) -> tuple[Tensors, Report]:
    inputs = {name: write_safetensors(tmp_path / f"{name}.safetensors", held[name]) for name in held}
    output = tmp_path / "out.safetensors"
    recipe = make_recipe(inputs=inputs, steps={"x": formula}, saves=[Save("x", output)])
    options = RunOptions(hash_inputs=False, force=True, threads=1, allow_unmatched=allow)
    report = run_recipe(recipe, options)
    return load_file(output), report


@pytest.fixture(scope="module")
def A() -> Tensors:
    """Of its VAE there is one tensor."""
    model = shallow(tiny_checkpoint("sd1", seed=1))
    return {key: tensor for key, tensor in model.items() if key == VAE or not key.startswith("first_stage")}


@pytest.fixture(scope="module")
def B(A: Tensors) -> Tensors:
    """Another model; the two differ in one layer of the text encoder and a few of the U-Net."""
    layers = ("layers.0.mlp.fc1.weight", "middle_block.1.transformer_blocks.0.attn1.to_q.weight", "conv_in")
    other = shallow(tiny_checkpoint("sd1", seed=2))
    return {key: other[key] if key.endswith(layers) else tensor for key, tensor in A.items()}


def longer(tensors: Tensors) -> Tensors:
    """With one token more."""
    return {**tensors, TABLE: torch.cat([tensors[TABLE], tensors[TABLE][:1]])}


def test_an_extraction_needs_only_the_layers_that_it_holds(tmp_path: Path, A: Tensors, B: Tensors) -> None:
    """Other input channels, one more token, notes, layers of the VAE in other sizes: outside and counted."""
    plain, _ = run(tmp_path, "extract(B - A, rank=4)", A=A, B=B)
    wide = torch.cat([B[CONV_IN], torch.ones(B[CONV_IN].shape[0], 5, 3, 3, dtype=torch.float16)], 1)
    odd = longer(B) | {VAE: B[VAE][:, :2].contiguous(), CONV_IN: wide, "extra.note": torch.ones(3)}
    result, report = run(tmp_path, "extract(T - A, rank=4)", A=A, T=odd)
    assert all(torch.equal(result[key], plain[key]) for key in plain)
    (warning,) = report.warnings
    assert warning.startswith("3 tensors of 'T' and 'A' are not alike in both, and not compared: ")
    _, report = run(tmp_path, "extract(A - T, rank=4)", A=A, T=odd)
    (warning,) = report.warnings
    assert warning.startswith("4 tensors of 'A' and 'T' are not alike in both, and not compared: ")


def test_layers_that_it_holds_must_be_alike(tmp_path: Path, A: Tensors, B: Tensors) -> None:
    cut = {**B, PROJECTION: B[PROJECTION][:, :8].contiguous()}
    with pytest.raises(InputError, match=f"the tensor '{PROJECTION}' has different shapes"):
        run(tmp_path, "extract(T - A, rank=4)", A=A, T=cut)
    spare = PROJECTION.replace("proj_in", "transformer_blocks.7.attn1.to_q")
    with pytest.raises(InputError, match="1 tensor of 'T' has no counterpart"):
        run(tmp_path, "extract(A - T, rank=4)", A=A, T={**B, spare: torch.ones(4, 4)})


def test_what_an_extraction_leaves_alone_does_not_stop_the_formula_around_it(
    tmp_path: Path, A: Tensors, B: Tensors
) -> None:
    result, _ = run(tmp_path, "A + extract(T - B, rank=4)", A=A, B=B, T=longer(B))
    assert all(torch.equal(result[key], A[key]) for key in A)


def test_a_tensor_of_another_shape_comes_from_the_first_when_that_is_allowed(
    tmp_path: Path, A: Tensors, B: Tensors
) -> None:
    with pytest.raises(InputError, match="has different shapes") as caught:
        run(tmp_path, "0.5*T + 0.5*A", A=A, T=longer(B))
    assert "takes such tensors from 'T'" in str(caught.value.fix)
    result, report = run(tmp_path, "0.5*T + 0.5*A", A=A, T=longer(B), allow=True)
    assert torch.equal(result[TABLE], longer(B)[TABLE])
    assert report.weights[0].buckets["other shape"] == 1
    note = f"1 tensor with another shape in another model, taken from 'T' unchanged: {TABLE}"
    assert report.weights[0].notes == (note,)
    assert verify(tmp_path / "out.safetensors").ok


def test_models_of_other_sizes_are_refused_whatever_is_allowed(tmp_path: Path, A: Tensors) -> None:
    half = shallow(tiny_checkpoint("sd1", seed=1, width_divisor=32))
    with pytest.raises(InputError, match="has different shapes") as caught:
        run(tmp_path, "0.5*A + 0.5*B", A=A, B=half, allow=True)
    assert caught.value.fix == "the two models have different structure and cannot be combined"
