"""`compare` ends in a verdict: which sentence for which pair of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.commands import as_flag
from loralathe.families.sd1 import SD1
from loralathe.inspection import compare_files
from rendering.conftest import shallow

Tensors = Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def model() -> dict[str, torch.Tensor]:
    """Without the deeper layers, in fp16."""
    return shallow(tiny_checkpoint("sd1", seed=1, width_divisor=16))


def layers(tensors: Tensors) -> list[str]:
    modules = SD1.modules(tensors).values()
    return sorted(
        {module.key for module in modules if module.scope == "linear" and module.component == "unet"}
    )


def changed(tensors: Tensors, size: float, rank: int | None = None) -> dict[str, torch.Tensor]:
    """Its linear layers changed by a share of their length: everywhere, or by matrices of a rank."""
    generator, found = torch.Generator().manual_seed(3), dict(tensors)
    for key in layers(tensors):
        weight = tensors[key].float().flatten(1)
        rows, columns = weight.shape
        noise = torch.randn(rows, columns, generator=generator)
        if rank is not None:
            noise = noise[:, :rank] @ noise[:rank]
        delta = noise * (size * weight.norm() / noise.norm())
        found[key] = (weight + delta).reshape(tensors[key].shape).to(tensors[key].dtype)
    return found


def said(tmp_path: Path, x: Tensors, y: Tensors) -> tuple[str, str]:
    """Kind and text of the verdict."""
    files = [write_safetensors(tmp_path / f"{name}.safetensors", held) for name, held in (("x", x), ("y", y))]
    found = compare_files(*files).verdict
    return found.kind, found.text.spelled(as_flag)


def test_the_same_model(tmp_path: Path, model: Tensors) -> None:
    assert said(tmp_path, model, model) == ("same", "the same model")
    floats = {key: tensor for key, tensor in model.items() if tensor.is_floating_point()}
    wide = {**model, **{key: tensor.float() for key, tensor in floats.items()}}
    assert said(tmp_path, model, wide) == ("same", "the same model, stored in other dtypes")
    coarse = {
        key: tensor.bfloat16() if tensor.is_floating_point() else tensor for key, tensor in model.items()
    }
    assert said(tmp_path, wide, coarse)[0] == "rounding"


def test_another_vae(tmp_path: Path, model: Tensors) -> None:
    other = {key: tensor + 1 if key.startswith("first_stage") else tensor for key, tensor in model.items()}
    assert said(tmp_path, model, other) == ("other VAE", "the same model with another VAE")


def test_a_lora_inside(tmp_path: Path, model: Tensors) -> None:
    kind, text = said(tmp_path, changed(model, 0.1, rank=3), model)
    assert kind == "LoRA inside"
    assert text.startswith("one is the other with a LoRA merged in (they differ by ")
    assert text.endswith(" %): extract the LoRA with --rank 4")


@pytest.mark.parametrize(("size", "kind"), [(0.1, "fine-tune"), (0.38, "share little"), (1.4, "unrelated")])
def test_how_near_two_models_are(tmp_path: Path, model: Tensors, size: float, kind: str) -> None:
    found = said(tmp_path, model, changed(model, size))
    assert found[0] == kind
    if kind == "share little":
        assert "(they differ by 3" in found[1]
        assert "X + M × (X − Y), M above 0.2 will break pictures" in found[1]


def test_loras(tmp_path: Path) -> None:
    """At another strength, one inside another, and two that have nothing to do with each other."""
    whole = [tiny_lora("sd1", rank=4, alpha=4, seed=seed, width_divisor=32) for seed in (5, 6)]
    hina, style = ({key: one for key, one in held.items() if "_down_blocks_" in key} for held in whole)
    half = {key: tensor * 0.5 if "lora_up" in key else tensor for key, tensor in hina.items()}
    both = {
        key: torch.cat([hina[key], 0.5 * style[key]], 1) if "lora_up" in key
        else torch.cat([hina[key], style[key]]) if "lora_down" in key
        else torch.tensor(8.0)
        for key in hina
    }  # fmt: skip
    assert said(tmp_path, hina, hina) == ("same", "the same LoRA")
    assert said(tmp_path, hina, half) == ("strength", "the same LoRA at another strength: Y is 0.5 × X")
    assert said(tmp_path, hina, both)[1].startswith("Y holds X at 1 of its strength, and something else")
    assert said(tmp_path, hina, style)[0] == "different"
