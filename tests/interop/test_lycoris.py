"""LyCORIS' own modules: what they save is read as the difference that they make."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from checkpoints import write_safetensors
from loralathe.adapters import delta, load_factors, open_adapter

lycoris: Any = importlib.import_module("lycoris.modules")

LINEAR = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2"
UNIT, CONV = "lora_unet_mid_block_attentions_0_proj_in", "lora_unet_mid_block_resnets_0_conv1"
LAYERS = {
    LINEAR: lambda: nn.Linear(48, 32),
    UNIT: lambda: nn.Conv2d(48, 32, 1),
    CONV: lambda: nn.Conv2d(48, 32, 3),
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "LoCon": ("LoConModule", {}),
    "LoCon, rs": ("LoConModule", {"rs_lora": True}),
    "LoHa": ("LohaModule", {}),
    "LoHa, rs": ("LohaModule", {"rs_lora": True}),
    "LoKr": ("LokrModule", {"factor": 4}),
    "LoKr, both in factors": ("LokrModule", {"factor": 8, "decompose_both": True}),
    "LoKr, whole": ("LokrModule", {"factor": 4, "full_matrix": True}),
}


@pytest.mark.parametrize("tucker", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_lycoris_and_we_have_one_difference(tmp_path: Path, kind: str, tucker: bool) -> None:
    """What a layer adds in training; LyCORIS' `get_diff_weight` squares the scale of LoHa and LoKr."""
    cls, more = KINDS[kind]
    generator = torch.Generator().manual_seed(1)
    state, wanted = {}, {}
    for name, make in LAYERS.items():
        layer = make()
        trained = getattr(lycoris, cls)(
            name, layer, multiplier=1.0, lora_dim=3, alpha=2.0, use_tucker=tucker, **more
        )
        for parameter in trained.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4
        saved = trained.custom_state_dict() or trained.state_dict()
        state |= {f"{name}.{key}": tensor.detach().contiguous() for key, tensor in saved.items()}
        x = torch.randn(2, 48, *[3] * (layer.weight.dim() - 2), generator=generator)
        trained.apply_to()
        with torch.no_grad():
            wanted[name] = (x, layer(x) - trained.org_forward(x))
    path = write_safetensors(tmp_path / "x.safetensors", state)
    with open_adapter(path) as adapter:
        assert len(adapter.modules) == len(LAYERS)
        for module in adapter.modules.values():
            x, added = wanted[module.raw_name]
            shape = LAYERS[module.raw_name]().weight.shape
            made = delta(load_factors(adapter, module), tuple(shape))
            ours = torch.conv2d(x, made) if len(shape) == 4 else x @ made.T
            torch.testing.assert_close(ours, added, rtol=1e-4, atol=1e-4)
