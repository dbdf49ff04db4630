"""LyCORIS' kinds that depend on the weights: what its own modules save changes a weight as they do."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from checkpoints import write_safetensors
from loralathe.adapters import load_change, load_factors, open_adapter
from loralathe.errors import InputError

lycoris: Any = importlib.import_module("lycoris.modules")

LINEAR = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2"
UNIT, CONV = "lora_unet_mid_block_attentions_0_proj_in", "lora_unet_mid_block_resnets_0_conv1"
LAYERS = {
    LINEAR: lambda: nn.Linear(48, 32),
    UNIT: lambda: nn.Conv2d(48, 32, 1),
    CONV: lambda: nn.Conv2d(48, 32, 3),
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Diag-OFT": ("DiagOFTModule", {"lora_dim": 4}),
    "Diag-OFT, constrained": ("DiagOFTModule", {"lora_dim": 4, "constraint": 0.01}),
    "Diag-OFT, rescaled": ("DiagOFTModule", {"lora_dim": 4, "rescaled": True}),
    "BOFT": ("ButterflyOFTModule", {"lora_dim": 4}),
    "BOFT, constrained": ("ButterflyOFTModule", {"lora_dim": 4, "constraint": 0.01}),
    "BOFT, rescaled": ("ButterflyOFTModule", {"lora_dim": 4, "rescaled": True}),
    "GLoRA": ("GLoRAModule", {"lora_dim": 3}),
    "(IA)³ of outputs": ("IA3Module", {"train_on_input": False}),
    "(IA)³ of inputs": ("IA3Module", {"train_on_input": True}),
    "LoRA with DoRA": ("LoConModule", {"lora_dim": 3, "weight_decompose": True}),
    # LyCORIS' merge squares the scale of these two, so it is 1 here.
    "LoHa with DoRA": ("LohaModule", {"lora_dim": 3, "alpha": 3, "weight_decompose": True}),
    "LoKr with DoRA": ("LokrModule", {"lora_dim": 3, "alpha": 3, "factor": 4, "weight_decompose": True}),
    "DoRA of inputs": ("LoConModule", {"lora_dim": 3, "weight_decompose": True, "wd_on_out": False}),
}


class Held:
    """`adapters.kind.Weight` of a layer in memory."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.shape = tuple(weight.shape)
        self.matrix = weight.flatten(1)

    def bands(self) -> list[torch.Tensor]:
        return [self.matrix]

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.matrix[start:stop]


def trained(kind: str, name: str, seed: int) -> Any:
    """A module of LyCORIS on a layer, with random numbers in place of what it learned."""
    cls, fields = KINDS[kind]
    torch.manual_seed(seed)
    module = getattr(lycoris, cls)(name, LAYERS[name](), multiplier=1.0, **{"alpha": 2.0} | fields)
    for part, parameter in module.named_parameters():
        lengths = part in ("rescale", "dora_scale")
        parameter.data = parameter * 1.2 if lengths else torch.randn(parameter.shape) / 4
    return module


def saved(modules: dict[str, Any], path: Path) -> Path:
    state = {
        f"{name}.{key}": tensor.detach().contiguous()
        for name, module in modules.items()
        for key, tensor in (module.custom_state_dict() or module.state_dict()).items()
        if not key.startswith("org_module")
    }
    return write_safetensors(path, state)


@pytest.mark.parametrize("kind", KINDS)
def test_lycoris_and_we_change_a_weight_alike(tmp_path: Path, kind: str) -> None:
    """At its strength 1, against `get_merged_weight`, which training and merging of LyCORIS use."""
    modules = {name: trained(kind, name, seed) for seed, name in enumerate(LAYERS)}
    with open_adapter(saved(modules, tmp_path / "x.safetensors"), with_weights=True) as adapter:
        assert len(adapter.modules) == len(LAYERS)
        for held in adapter.modules.values():
            module = modules[held.raw_name]
            weight = module.org_weight.detach()
            with torch.no_grad():
                merged, _ = module.get_merged_weight(1.0, weight.shape)
            ours = load_change(adapter, held, Held(weight))(weight.flatten(1), range(len(weight)))
            np.testing.assert_allclose(
                (weight.flatten(1) + ours).numpy(), merged.flatten(1).numpy(), rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("kind", ["Diag-OFT", "GLoRA", "(IA)³ of inputs"])
def test_strengths_of_lycoris_are_linear_too(tmp_path: Path, kind: str) -> None:
    module = trained(kind, LINEAR, 1)
    weight = module.org_weight.detach()
    with open_adapter(saved({LINEAR: module}, tmp_path / "x.safetensors"), with_weights=True) as adapter:
        (held,) = adapter.modules.values()
        ours = load_change(adapter, held, Held(weight))(weight, range(len(weight)))
    with torch.no_grad():
        merged, _ = module.get_merged_weight(0.4, weight.shape)
    torch.testing.assert_close(weight + 0.4 * ours, merged, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["BOFT", "Diag-OFT, rescaled", "LoRA with DoRA"])
def test_where_they_are_not(kind: str) -> None:
    """What docs/merge-methods.md says of LyCORIS' strengths: at 0 some of the change stays, or it fails."""
    module = trained(kind, LINEAR, 1)
    weight = module.org_weight.detach()
    with torch.no_grad():
        half, _ = module.get_merged_weight(0.5, weight.shape)
        whole, _ = module.get_merged_weight(1.0, weight.shape)
    assert not torch.allclose(half, (weight + whole) / 2, rtol=1e-3, atol=1e-3)


def test_dylora_is_a_lora(tmp_path: Path) -> None:
    """Its file is one of kohya's kind, `up` a matrix for convolutions too; alpha / rank of all ranks."""
    state, wanted = {}, {}
    for seed, (name, make) in enumerate(LAYERS.items()):
        torch.manual_seed(seed)
        layer = make()
        module = lycoris.DyLoraModule(name, layer, lora_dim=8, alpha=2.0, block_size=4)
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape)
        state[name] = module.custom_state_dict()
        up, down = torch.cat(list(module.up_list), 1), torch.cat(list(module.down_list))
        wanted[name] = 2 / 8 * up @ down
    named = {
        f"{name}.{key}": value.detach().contiguous()
        for name, saved_parts in state.items()
        for key, value in saved_parts.items()
    }
    with open_adapter(write_safetensors(tmp_path / "x.safetensors", named)) as adapter:
        assert len(adapter.modules) == len(LAYERS)
        for held in adapter.modules.values():
            factors = load_factors(adapter, held)
            torch.testing.assert_close(factors.up @ factors.down, wanted[held.raw_name].detach())


def test_tlora_is_named(tmp_path: Path) -> None:
    """Its file lacks the start of the training, which it subtracts."""
    torch.manual_seed(0)
    module = lycoris.TLoraModule(LINEAR, nn.Linear(48, 32), lora_dim=4, alpha=2.0)
    with pytest.raises(InputError, match=r"a kind that is not read: T-LoRA 1 \(of 1\)"):
        open_adapter(saved({LINEAR: module}, tmp_path / "x.safetensors"))


def test_all_of_lycoris_algorithms_are_met() -> None:
    """What the installed version registers: a new one is read or named here before it is used."""
    wrapper = importlib.import_module("lycoris.wrapper")
    met = {"lora", "locon", "loha", "lokr", "dylora", "glora", "full", "diag-oft", "boft", "ia3", "tlora"}
    assert set(wrapper.network_module_dict) <= met
