"""What we write, read by diffusers: every key used, every number in its place, the same delta."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import write_safetensors
from interop.conftest import EXTRACTIONS, Workshop

pytest.importorskip("diffusers", reason="needs diffusers, the reader under test")
pytest.importorskip("transformers", reason="needs transformers: the text encoders")
pytest.importorskip("peft", reason="needs peft: diffusers loads adapters through it")

from interop.models import Models, load_models, pipeline_of

STRENGTH = 0.6
NO_HOME = ("position_ids", "logit_scale")
"""Ends of the keys that diffusers has no weight for: positions are counted, the scale belongs to training."""


def sorted_values(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.sort(torch.cat([tensor.float().flatten() for tensor in tensors.values()])).values


@pytest.mark.long
def test_every_number_of_a_checkpoint_is_loaded_once(workshop: Workshop) -> None:
    checkpoint = load_file(workshop.path("merged"))
    loaded = load_models(workshop.family, checkpoint).state()
    kept = {key: tensor for key, tensor in checkpoint.items() if not key.endswith(NO_HOME)}
    assert torch.equal(sorted_values(loaded), sorted_values(kept))


@pytest.mark.long
def test_from_single_file(workshop: Workshop, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    models = load_models(workshop.family, load_file(workshop.path("merged")))
    for name, kind, model in (
        ("unet", UNet2DConditionModel, models.unet),
        ("vae", AutoencoderKL, models.vae),
    ):
        model.save_config(tmp_path / name)
        read = kind.from_single_file(
            str(workshop.path("merged")), config=str(tmp_path), subfolder=name, local_files_only=True
        )
        expected = model.state_dict()
        assert read.state_dict().keys() == expected.keys()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in read.state_dict().items())


def lora_layers(models: Models) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    parts = {"unet": models.unet, "te1": models.te1, "te2": models.te2}
    return {
        f"{part}.{name}": module
        for part, model in parts.items()
        if model is not None
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


def weights_of(models: Models) -> dict[str, torch.Tensor]:
    return {key.replace(".base_layer", ""): tensor for key, tensor in models.state().items()}


SLOW = [("sd1", "linear"), ("sd1", "padded"), ("sdxl", "linear"), ("sdxl", "conv"), ("sdxl", "wide"),
        ("sdxl", "padded")]  # fmt: skip
"""conv holds all of linear, and ranks that differ are the same matter in both families."""
CASES = [
    pytest.param(family, kind, marks=pytest.mark.slow if (family, kind) in SLOW else ())
    for family in ("sd1", "sdxl")
    for kind in EXTRACTIONS
]


@pytest.mark.quick(1)
@pytest.mark.parametrize(("workshop", "kind"), CASES, indirect=["workshop"])
def test_a_lora_changes_diffusers_models_as_it_changes_ours(workshop: Workshop, kind: str) -> None:
    extraction = workshop.extract(kind).extractions[0]
    assert changed_alike(workshop, f"lora_{kind}") == extraction.written


@pytest.mark.parametrize("workshop", ["sd1", pytest.param("sdxl", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.quick(1)
@pytest.mark.parametrize("formula", ["combine(0.5*loha)", "resize(loha, rank=3)"])
@pytest.mark.long
def test_a_loha_becomes_a_lora_that_diffusers_reads(workshop: Workshop, formula: str) -> None:
    """Its tensors of a 1×1 convolution are matrices; a LoRA's must not be."""
    if not workshop.path("loha").exists():
        write_safetensors(workshop.path("loha"), loha(load_file(workshop.path("trained"))))
    name = "made_by_" + formula.partition("(")[0]
    workshop.make(name, formula, "fp32")
    assert changed_alike(workshop, name) > 200


def loha(lora: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A LoHa of rank 2 for the layers of a LoRA, as LyCORIS stores it."""
    generator, made = torch.Generator().manual_seed(5), {}
    for name in {key.split(".")[0] for key in lora}:
        out, width = len(lora[f"{name}.lora_up.weight"]), lora[f"{name}.lora_down.weight"][0].numel()
        for part, shape in (("a", (out, 2)), ("b", (2, width))):
            for side in "12":
                made[f"{name}.hada_w{side}_{part}"] = torch.randn(shape, generator=generator) * 0.2
        made[f"{name}.alpha"] = torch.tensor(1.5)
    return made


def changed_alike(workshop: Workshop, name: str) -> int:
    """The layers that a LoRA changes in diffusers, where all of it is as we merge it."""
    lora = load_file(workshop.path(name))
    models = load_models(workshop.family, load_file(workshop.path("A")))
    before = {key: tensor.clone() for key, tensor in models.state().items()}
    pipeline = pipeline_of(workshop.family, models)
    pipeline.load_lora_weights(str(workshop.path(name)))

    layers = lora_layers(models)
    modules = {key.split(".")[0] for key in lora}
    assert len(layers) == len(modules)
    assert ranks_and_scales(layers) == ranks_and_scales_in(lora)

    pipeline.to(torch.float32)
    pipeline.fuse_lora(lora_scale=STRENGTH)
    pipeline.unload_lora_weights()
    workshop.make("ours", f"A + {STRENGTH}*{name}", "fp32")
    ours = load_models(workshop.family, load_file(workshop.path("ours"))).state()
    theirs = weights_of(models)
    assert theirs.keys() == ours.keys()
    changed = 0
    for key, tensor in ours.items():
        delta = tensor.double() - before[key].double()
        error = (theirs[key].double() - tensor.double()).norm()
        assert error <= 1e-4 * delta.norm(), f"{key}: {error / delta.norm():.1e}"
        changed += bool(delta.any())
    assert changed == len(modules)
    return changed


def ranks_and_scales(layers: dict[str, Any]) -> list[tuple[int, float]]:
    return sorted((layer.r["default_0"], round(layer.scaling["default_0"], 4)) for layer in layers.values())


def ranks_and_scales_in(lora: dict[str, torch.Tensor]) -> list[tuple[int, float]]:
    modules = {key.split(".")[0] for key in lora}
    ranks = {name: lora[f"{name}.lora_down.weight"].shape[0] for name in modules}
    return sorted((rank, round(float(lora[f"{name}.alpha"]) / rank, 4)) for name, rank in ranks.items())


@pytest.mark.quick(1)
@pytest.mark.long
def test_ranks_differ_where_noise_or_shape_ends_them(workshop: Workshop) -> None:
    """The case that older readers got wrong is really in the tests above."""
    reasons = workshop.extract("wide").extractions[0].reasons
    assert reasons["noise"] > 100
    lora = load_file(workshop.path("lora_wide"))
    ranks = {rank for rank, _ in ranks_and_scales_in(lora)}
    assert len(ranks) > 1
    assert len({float(tensor) for key, tensor in lora.items() if key.endswith(".alpha")}) == 1
    workshop.extract("padded")
    assert {rank for rank, _ in ranks_and_scales_in(load_file(workshop.path("lora_padded")))} == {24}
