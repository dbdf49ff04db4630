"""Every field of PEFT's configs is read, or refused in words, or has no effect on what an adapter adds.

The lists come from the installed PEFT, so that a field which a new version brings makes these tests fail.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from loralathe.adapters import delta, load_factors, open_adapter
from loralathe.adapters.notes import CHANGED_BASE, READ, VARIANTS
from loralathe.errors import InputError
from loralathe.families.sd1 import SD1

pytest.importorskip("peft", reason="needs peft, whose configs these are")
from peft import EvaConfig, LoHaConfig, LoKrConfig, LoraConfig, get_peft_model

NO_EFFECT = {
    "which program and model": (
        "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
        "inference_mode", "runtime_config", "ensure_weight_tying", "megatron_config", "megatron_core",
    ),
    "which layers: the tensors tell": (
        "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    ),
    "how factors are laid out: the tensors tell": (
        "use_dora", "lora_bias", "use_effective_conv2d", "decompose_both", "decompose_factor",
    ),
    "training only": (
        "lora_dropout", "rank_dropout", "module_dropout", "rank_dropout_scale", "init_weights", "eva_config",
        "corda_config", "lora_ga_config", "loftq_config",
    ),
    "PEFT itself sets it to False for linear layers": ("fan_in_fan_out",),
    "only with use_qalora, which is refused": ("qalora_group_size",),
    "their tensors are in the file, and an error": ("modules_to_save", "trainable_token_indices"),
}  # fmt: skip
CONFIGS = {"lora": LoraConfig, "loha": LoHaConfig, "lokr": LoKrConfig}
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"


class Layers(nn.Module):
    """A few layers of SD 1's U-Net under their names: matrices, a 1×1 and a 3×3 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList([nn.Module()])
        attention, block, attn, resnet = (nn.Module() for _ in range(4))
        self.down_blocks[0].attentions = nn.ModuleList([attention])
        self.down_blocks[0].resnets = nn.ModuleList([resnet])
        attention.transformer_blocks, block.attn1 = nn.ModuleList([block]), attn
        attn.to_q = nn.Linear(24, 36)
        attn.to_out = nn.ModuleList([nn.Linear(36, 24)])
        attention.proj_in = nn.Conv2d(24, 24, 1)
        resnet.conv1 = nn.Conv2d(12, 24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attention = self.down_blocks[0].attentions[0].transformer_blocks[0].attn1
        return attention.to_out[0](attention.to_q(x))


def train(config: Any, folder: Path) -> Any:
    """An adapter with random factors, saved as PEFT saves it."""
    torch.manual_seed(1)
    model = get_peft_model(Layers(), config)
    prefix = re.compile(r"\.(lora_|hada_|lokr_)")
    for name, parameter in model.named_parameters():
        if prefix.search(name):
            nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(str(folder))
    return model


def changes(model: Any) -> dict[str, torch.Tensor]:
    """What PEFT's merge adds, by the name of the tensor."""
    layers = {name: layer for name, layer in model.named_modules() if hasattr(layer, "merge") and name}
    before, after = {}, {}
    for state, merge in ((before, False), (after, True)):
        for name, layer in layers.items():
            if hasattr(layer, "get_base_layer"):
                if merge:
                    layer.merge()
                base = layer.get_base_layer()
                state[f"{name.removeprefix('base_model.model.')}"] = base.weight.detach().double().clone()
                if base.bias is not None:
                    state[f"{name.removeprefix('base_model.model.')}.bias"] = (
                        base.bias.detach().double().clone()
                    )
    return {name: after[name] - old for name, old in before.items() if not torch.equal(after[name], old)}


def ours(folder: Path) -> dict[str, torch.Tensor]:
    with open_adapter(folder / "adapter_model.safetensors", SD1) as adapter:
        assert not adapter.unmatched
        found = {}
        for name, module in adapter.modules.items():
            stem = module.raw_name.removeprefix("base_model.model.") + ".bias" * name.endswith(".bias")
            found[stem] = delta(load_factors(adapter, module, torch.float64), module.shape)
        return found


TARGETS = ["to_q", "to_out.0", "proj_in", "conv1"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA": ("lora", {"r": 4, "lora_alpha": 6}),
    "LoRA, biases": ("lora", {"r": 4, "lora_alpha": 6, "lora_bias": True}),
    "LoRA, biases, rsLoRA": ("lora", {"r": 4, "lora_alpha": 6, "lora_bias": True, "use_rslora": True}),
    "LoRA, rooted pattern": ("lora", {"r": 4, "lora_alpha": 6, "alpha_pattern": {"^to_q": 2, "proj_in": 3}}),
    "LoRA, orthogonal": ("lora", {"r": 4, "lora_alpha": 6, "init_lora_weights": "orthogonal",
                                  "target_modules": ["to_q"]}),
    "LoRA, MiCA": ("lora", {"r": 4, "lora_alpha": 6, "init_lora_weights": "mica",
                            "target_modules": ["to_q"]}),
    "LoHa": ("loha", {"r": 4, "alpha": 8}),
    "LoHa, patterns": ("loha", {"r": 4, "alpha": 8, "rank_pattern": {"to_q": 2},
                                "alpha_pattern": {"to_q": 3}}),
    "LoHa, Tucker": ("loha", {"r": 4, "alpha": 2, "use_effective_conv2d": True}),
    "LoKr": ("lokr", {"r": 2, "alpha": 8}),
    "LoKr, both in factors": ("lokr", {"r": 1, "alpha": 8, "decompose_both": True, "decompose_factor": 4}),
    "LoKr, whole": ("lokr", {"r": 64, "alpha": 8}),
    "LoKr, whole, pattern": ("lokr", {"r": 64, "alpha": 8, "rank_pattern": {"to_q": 100}}),
    "LoKr, Tucker": ("lokr", {"r": 2, "alpha": 8, "use_effective_conv2d": True}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_an_adapter_changes_what_peft_changes(tmp_path: Path, name: str) -> None:
    kind, fields = CASES[name]
    model = train(CONFIGS[kind](**({"target_modules": TARGETS} | fields)), tmp_path)
    found, wanted = ours(tmp_path), changes(model)
    assert found.keys() == wanted.keys()
    for layer, tensor in wanted.items():
        error = (found[layer].reshape(tensor.shape) - tensor).norm()
        assert error <= 1e-5 * tensor.norm(), (layer, error / tensor.norm())


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_field_is_known(kind: str) -> None:
    harmless = {name for names in NO_EFFECT.values() for name in names}
    known = READ | VARIANTS.keys() | {"init_lora_weights"} | harmless
    assert {field.name for field in dataclasses.fields(CONFIGS[kind])} <= known
    assert not harmless & (READ | VARIANTS.keys())


def test_every_initialisation_is_known() -> None:
    """Read out of PEFT's own annotation; those that leave the base as it is are read."""
    (field,) = (field for field in dataclasses.fields(LoraConfig) if field.name == "init_lora_weights")
    words = set(re.findall(r"'([a-z_]+)", str(field.type)))
    assert words - {"gaussian", "eva", "orthogonal", "mica", "pissa_niter_"} <= CHANGED_BASE.keys()
    assert {"pissa", "olora", "corda", "loftq"} <= words


def set_field(folder: Path, **fields: object) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder / "adapter_model.safetensors"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga"])
def test_a_changed_base_is_refused(tmp_path: Path, init: str) -> None:
    train(LoraConfig(target_modules=TARGETS), tmp_path)
    with pytest.raises(InputError, match="for a changed base model") as caught:
        open_adapter(set_field(tmp_path, init_lora_weights=init), SD1)
    assert ("path_initial_model_for_weight_conversion" in str(caught.value)) == (init != "loftq")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_peft_converts_it_into_one_that_is_read(tmp_path: Path, init: str) -> None:
    """PEFT's own conversion, by the rule that it prints."""
    torch.manual_seed(1)
    plain = Layers()
    before = {name: tensor.double().clone() for name, tensor in plain.state_dict().items()}
    model = get_peft_model(
        plain, LoraConfig(r=4, lora_alpha=6, target_modules=["to_q"], init_lora_weights=init)
    )
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(str(tmp_path / "init"))
    model.peft_config["default"].init_lora_weights = init
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(str(tmp_path / "raw"))
    with pytest.raises(InputError, match="for a changed base model"):
        open_adapter(tmp_path / "raw" / "adapter_model.safetensors", SD1)
    model.save_pretrained(
        str(tmp_path / "converted"), path_initial_model_for_weight_conversion=str(tmp_path / "init")
    )
    merged = model.merge_and_unload().state_dict()
    name = f"{BLOCK}.to_q"
    wanted = merged[f"{name}.weight"].double() - before[f"{name}.weight"]
    error = (ours(tmp_path / "converted")[name] - wanted).norm()
    assert error <= 1e-5 * wanted.norm()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_refused(tmp_path: Path, name: str) -> None:
    value = {"bias": "all", "layer_replication": [[0, 2]], "alora_invocation_tokens": [1]}.get(name, True)
    train(LoraConfig(target_modules=TARGETS), tmp_path)
    with pytest.raises(InputError, match="it is not read") as caught:
        open_adapter(set_field(tmp_path, **{name: value}), SD1)
    assert name in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_eva_leaves_the_base_alone(tmp_path: Path) -> None:
    """Its first B is 0, and the alphas that it changes stand in alpha_pattern."""
    from peft import initialize_lora_eva_weights

    torch.manual_seed(1)
    model = get_peft_model(
        Layers(),
        LoraConfig(r=4, target_modules=["to_q", "to_out.0"], init_lora_weights="eva", eva_config=EvaConfig()),
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if "base_layer" in name}
    batches = [{"x": torch.randn(64, 24)} for _ in range(8)]
    initialize_lora_eva_weights(
        model, batches, prepare_model_inputs_fn=None, prepare_layer_inputs_fn=None, show_progress_bar=False
    )
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(str(tmp_path))
    found = ours(tmp_path)
    for layer, tensor in changes(model).items():
        assert (found[layer] - tensor).norm() <= 1e-5 * tensor.norm()


@pytest.mark.filterwarnings("ignore")
def test_layers_that_are_saved_whole_are_told(tmp_path: Path) -> None:
    train(LoraConfig(target_modules=["to_q"], modules_to_save=["conv1"]), tmp_path)
    with open_adapter(tmp_path / "adapter_model.safetensors", SD1) as adapter:
        assert any("conv1" in name for name in adapter.unmatched)
