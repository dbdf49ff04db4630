"""docs/semantics.md §8: of more input channels than what is added has, the first take part."""

from __future__ import annotations

from collections.abc import Mapping
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

CONV_IN, IMG_IN = "model.diffusion_model.input_blocks.0.0.weight", "img_in.weight"
Tensors = Mapping[str, torch.Tensor]


def run(tmp_path: Path, formula: str, **held: Tensors) -> tuple[dict[str, torch.Tensor], Report]:
    """The saved tensors of a formula, checked by `verify`, and the report."""
    inputs = {name: write_safetensors(tmp_path / f"{name}.safetensors", held[name]) for name in held}
    output = tmp_path / "out.safetensors"
    recipe = make_recipe(inputs=inputs, steps={"x": formula}, saves=[Save("x", output, "fp32")])
    report = run_recipe(recipe, RunOptions(hash_inputs=False, force=True, threads=1))
    assert verify(output, everything=True).ok
    return load_file(output), report


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 8


def kinds(out: int, ins: int) -> dict[str, tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """Kind → tensors of an adapter of a 3×3 convolution, and its difference (out, ins, 3, 3) in float64."""
    up, down = values(out, 2, 1, 1), values(2, ins, 3, 3, seed=1)
    a, b, c, d = (
        values(out, 2),
        values(2, ins * 9, seed=1),
        values(out, 2, seed=2),
        values(2, ins * 9, seed=3),
    )
    small, large = values(2, 2), values(out // 2, ins // 2, 3, 3, seed=1)
    loha = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}
    diff = values(out, ins, 3, 3)
    hadamard = (a.double() @ b.double()) * (c.double() @ d.double())
    kronecker = torch.einsum("ab,cdkl->acbdkl", small.double(), large.double())
    return {
        "lora": (
            {"lora_up.weight": up, "lora_down.weight": down},
            torch.einsum("or,rikl->oikl", up[..., 0, 0].double(), down.double()),
        ),
        "loha": (loha, hadamard.reshape(out, ins, 3, 3)),
        "lokr": ({"lokr_w1": small, "lokr_w2": large}, kronecker.reshape(out, ins, 3, 3)),
        "diff": ({"diff": diff}, diff.double()),
    }


@pytest.fixture(scope="module")
def inpainting() -> dict[str, torch.Tensor]:
    base = shallow(tiny_checkpoint("sd1-inpainting", seed=3, dtype="F32"))
    return {key: tensor for key, tensor in base.items() if key.startswith("model.")}


@pytest.mark.quick(2)
@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "diff"])
def test_an_adapter_of_4_channels_on_an_inpainting_model(
    tmp_path: Path, inpainting: dict[str, torch.Tensor], kind: str
) -> None:
    tensors, delta = kinds(inpainting[CONV_IN].shape[0], 4)[kind]
    hina = {f"lora_unet_conv_in.{part}": tensor for part, tensor in tensors.items()}
    result, report = run(tmp_path, "W + 0.7*hina", W=inpainting, hina=hina)
    expected = inpainting[CONV_IN].double()
    expected[:, :4] += 0.7 * delta
    assert torch.allclose(result[CONV_IN].double(), expected, atol=1e-6)
    assert torch.equal(result[CONV_IN][:, 4:], inpainting[CONV_IN][:, 4:])
    assert "'hina' is for 4 input channels, 'W' has 9: the first 4 take part" in report.weights[0].notes


def test_a_dora_changes_the_channels_that_it_was_trained_on(
    tmp_path: Path, inpainting: dict[str, torch.Tensor]
) -> None:
    tensors, delta = kinds(inpainting[CONV_IN].shape[0], 4)["lora"]
    lengths = values(len(delta), 1, 1, 1, seed=5).abs() + 1
    hina = {f"lora_unet_conv_in.{part}": t for part, t in {**tensors, "dora_scale": lengths}.items()}
    result, _ = run(tmp_path, "W + dora(W, 0.7*hina)", W=inpainting, hina=hina)
    first = inpainting[CONV_IN][:, :4].double()
    total = first + delta
    norms = total.flatten(1).norm(dim=1)[:, None, None, None]
    expected = inpainting[CONV_IN].double()
    expected[:, :4] += 0.7 * (lengths.double() * total / norms - first)
    assert torch.allclose(result[CONV_IN].double(), expected, atol=1e-6)


def test_flux_fill_takes_models_and_adapters_of_dev(tmp_path: Path) -> None:
    dev, other = (tiny_checkpoint("flux-alone", seed=seed, dtype="F32") for seed in (1, 2))
    fill = {**dev, IMG_IN: values(dev[IMG_IN].shape[0], 384)}
    up, down = values(dev[IMG_IN].shape[0], 2), values(2, 64, seed=1)
    hina = {"transformer.x_embedder.lora_A.weight": down, "transformer.x_embedder.lora_B.weight": up}
    result, report = run(tmp_path, "F + 0.5*(D - C) + 0.7*hina", F=fill, D=other, C=dev, hina=hina)
    expected = fill[IMG_IN].double()
    expected[:, :64] += (
        0.5 * (other[IMG_IN].double() - dev[IMG_IN].double()) + 0.7 * up.double() @ down.double()
    )
    assert torch.allclose(result[IMG_IN].double(), expected, atol=1e-6)
    assert [note for note in report.weights[0].notes if "input channels" in note] == [
        f"'{name}' is for 64 input channels, 'F' has 384: the first 64 take part"
        for name in ("D", "C", "hina")
    ]
    with pytest.raises(InputError, match="put 'F' first: the result is then fill, too"):
        run(tmp_path, "0.5*D + 0.5*F", D=dev, F=fill)


def test_a_control_lora_needs_a_model_with_its_channels(tmp_path: Path) -> None:
    dev = tiny_checkpoint("flux-alone", seed=1)
    width = dev[IMG_IN].shape[0]
    control = {
        "transformer.x_embedder.lora_A.weight": values(2, 128),
        "transformer.x_embedder.lora_B.weight": values(width, 2),
    }
    control |= {"transformer.context_embedder.lora_A.weight": values(2, dev["txt_in.weight"].shape[1])}
    control |= {"transformer.context_embedder.lora_B.weight": values(width, 2)}
    with pytest.raises(InputError, match="for models with 128 input channels, the base") as found:
        run(tmp_path, "A + control", A=dev, control=control)
    assert found.value.fix == "merge it into a Flux model of the kind 'depth or canny'"


@pytest.mark.parametrize("formula", ["combine(0.5*hina, 0.25*wide)", "combine(0.25*wide, 0.5*hina)"])
def test_adapters_of_different_channels_are_combined(tmp_path: Path, formula: str) -> None:
    both = {}
    sums = torch.zeros(16, 8, 3, 3, dtype=torch.float64)
    for name, ins, strength in (("hina", 4, 0.5), ("wide", 8, 0.25)):
        tensors, delta = kinds(16, ins)["lora"]
        both[name] = {f"lora_unet_conv_in.{part}": tensor for part, tensor in tensors.items()}
        sums[:, :ins] += strength * delta
    result, _ = run(tmp_path, formula, **both)
    up, down = (result[f"lora_unet_conv_in.lora_{part}.weight"].double() for part in ("up", "down"))
    scale = float(result["lora_unet_conv_in.alpha"]) / len(down)
    made = scale * torch.einsum("or,rikl->oikl", up[..., 0, 0], down)
    assert torch.allclose(made, sums, atol=1e-6)


def test_adapters_of_different_sizes_are_not_combined(tmp_path: Path) -> None:
    path = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    both = {
        name: {f"{path}.lora_up.weight": values(width, 2), f"{path}.lora_down.weight": values(2, width)}
        for name, width in (("a", 16), ("b", 32))
    }
    with pytest.raises(InputError, match="'b' and 'a' are made for models of different sizes"):
        run(tmp_path, "combine(a, b)", **both)
