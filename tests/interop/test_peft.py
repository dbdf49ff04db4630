"""A LoRA that PEFT made and diffusers wrote, merged by us: alphas from the metadata, other ranks, rsLoRA."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import tiny_checkpoint, write_safetensors

pytest.importorskip("diffusers", reason="needs diffusers, which writes the LoRA")
pytest.importorskip("transformers", reason="needs transformers: the text encoders")
pytest.importorskip("peft", reason="needs peft, the trainer's library")

from interop.models import Models, load_models, pipeline_of
from loralathe.api.recipes import merge_recipe
from loralathe.engine import RunOptions, run_recipe
from loralathe.language import Save, make_recipe
from loralathe.strengths import AdapterUse

STRENGTH = 0.6
LAYERS = {
    "unet": ["to_q", "to_v", "proj_in", "conv1", "ff.net.2"],
    "text_encoder": ["q_proj", "fc1"],
    "text_encoder_2": ["q_proj", "fc1"],
}
CONFIGS: Mapping[str, dict[str, Any]] = {
    "alpha": {"r": 4, "lora_alpha": 6},
    "patterns": {
        "r": 4,
        "lora_alpha": 6,
        "rank_pattern": {"to_q": 2, "q_proj": 3},
        "alpha_pattern": {"to_q": 5, "q_proj": 1},
    },
    "rslora": {"r": 4, "lora_alpha": 6, "use_rslora": True},
    "dora": {"r": 4, "lora_alpha": 6, "use_dora": True},
}


def train(models: Models, config: dict[str, Any]) -> dict[str, Any]:
    """Adapters with random factors on every network, and what diffusers saves: tensors and metadata."""
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(3)
    saved: dict[str, Any] = {}
    for name, network in (
        ("unet", models.unet),
        ("text_encoder", models.te1),
        ("text_encoder_2", models.te2),
    ):
        if network is None:
            continue
        model: Any = network
        model.add_adapter(LoraConfig(target_modules=LAYERS[name], **config), "default")
        for key, parameter in model.named_parameters():
            if "lora_magnitude" in key:
                parameter.data.mul_(torch.rand_like(parameter) + 0.5)
            elif "lora_" in key:
                torch.nn.init.normal_(parameter, std=0.2)
        saved[f"{name}_lora_layers"] = get_peft_model_state_dict(model, adapter_name="default")
        saved[f"{name}_lora_adapter_metadata"] = _plain(model.peft_config["default"].to_dict())
    return saved


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("family", "config"), [("sd1", "patterns"), ("sd1", "rslora"), ("sd1", "alpha"), ("sdxl", "patterns")]
)
def test_a_lora_of_peft_is_merged_as_peft_merges_it(tmp_path: Path, family: str, config: str) -> None:
    base = write_safetensors(tmp_path / "A.safetensors", tiny_checkpoint(family, seed=1, dtype="F32"))
    models = load_models(family, load_file(base))
    before = {key: tensor.clone() for key, tensor in models.state().items()}
    saved = train(models, CONFIGS[config])
    pipeline_of(family, models).save_lora_weights(str(tmp_path / "lora"), **saved)
    recipe = make_recipe(
        inputs={"A": base, "L": tmp_path / "lora" / "pytorch_lora_weights.safetensors"},
        steps={"out": f"A + {STRENGTH}*L"},
        saves=[Save("out", tmp_path / "out.safetensors")],
    )
    run_recipe(recipe, RunOptions(threads=1))
    ours = load_models(family, load_file(tmp_path / "out.safetensors")).state()

    changed = 0
    for key, delta in deltas(models).items():
        wanted = STRENGTH * delta
        found = ours[key].double() - before.pop(key).double()
        assert (found - wanted).norm() <= 1e-5 * wanted.norm(), key
        changed += 1
    assert changed > 50
    assert all(torch.equal(ours[key], tensor) for key, tensor in before.items() if "lora_" not in key)


def deltas(models: Models) -> dict[str, torch.Tensor]:
    """PEFT's own deltas by the name of the weight, float64."""
    from peft.tuners.lora import LoraLayer

    found = {}
    for part, model in (("unet", models.unet), ("te1", models.te1), ("te2", models.te2)):
        for name, module in model.named_modules() if model is not None else ():
            if isinstance(module, LoraLayer):
                found[f"{part}.{name}.weight"] = module.get_delta_weight("default").detach().double()
    return found


@pytest.mark.parametrize("family", ["sd1", pytest.param("sdxl", marks=pytest.mark.slow)])
@pytest.mark.long
def test_a_dora_of_peft_is_merged_as_peft_merges_it(tmp_path: Path, family: str) -> None:
    """Linear layers, convolutions and thirds of OpenCLIP's fused attention, by `lathe merge`'s own recipe."""
    base = write_safetensors(tmp_path / "A.safetensors", tiny_checkpoint(family, seed=1, dtype="F32"))
    models = load_models(family, load_file(base))
    before = {key: tensor.double().clone() for key, tensor in models.state().items()}
    saved = train(models, CONFIGS["dora"])
    pipeline_of(family, models).save_lora_weights(str(tmp_path / "lora"), **saved)
    lora = tmp_path / "lora" / "pytorch_lora_weights.safetensors"
    ours = {}
    for strength in (1.0, -0.4):
        recipe = merge_recipe(
            base, [AdapterUse(lora, te=strength, unet=strength)], {}, tmp_path / f"{strength}.safetensors"
        )
        run_recipe(recipe, RunOptions(threads=1))
        ours[strength] = load_models(family, load_file(tmp_path / f"{strength}.safetensors")).state()
    theirs = merged_by_peft(models)
    assert len(theirs) > 50
    for key, old in before.items():
        change = theirs.get(key, old) - old
        assert change.any() == (key in theirs)
        for strength, state in ours.items():
            error = (state[key].double() - old - strength * change).norm()
            assert error <= 1e-5 * old.norm(), (key, strength)


def merged_by_peft(models: Models) -> dict[str, torch.Tensor]:
    """PEFT's own merged weights by name, float64."""
    from peft.tuners.lora import LoraLayer

    found = {}
    for part, model in (("unet", models.unet), ("te1", models.te1), ("te2", models.te2)):
        for name, module in model.named_modules() if model is not None else ():
            if isinstance(module, LoraLayer):
                module.merge()
                found[f"{part}.{name}.weight"] = module.get_base_layer().weight.detach().double()
    return found
