"""PEFT's kinds that depend on the weights: a file and its config change a layer as PEFT merges them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from checkpoints import write_safetensors
from loralathe import MEMORY, convert_lora, in_memory
from loralathe.adapters import load_change, open_adapter
from loralathe.adapters.notes import CONFIG
from loralathe.errors import InputError
from loralathe.families import BIAS
from loralathe.families.sdxl import SDXL

pytest.importorskip("peft", reason="needs peft, whose files these are")
from peft import BOFTConfig, IA3Config, OFTConfig, get_peft_model
from peft.tuners.boft.layer import BOFTLayer

from .test_lycoris_weights import Held

Tensors = dict[str, torch.Tensor]
UNET = "input_blocks.4.1.transformer_blocks.0"
OFT = {
    "two blocks, the series": {"r": 2, "oft_block_size": 0},
    "blocks of 4, the series of 3": {"oft_block_size": 4, "num_cayley_neumann_terms": 3},
    "blocks of 8, the series of 8": {"oft_block_size": 8, "num_cayley_neumann_terms": 8},
    "the inverse": {"oft_block_size": 4, "use_cayley_neumann": False},
    "one block for all": {"oft_block_size": 8, "block_share": True},
    "constrained": {"oft_block_size": 8, "coft": True, "eps": 0.3},
}


class Layers(nn.Module):
    """An attention and a feed-forward of SDXL, by the names of diffusers."""

    def __init__(self) -> None:
        super().__init__()
        attention, block, feed, held = nn.Module(), nn.Module(), nn.Module(), nn.Module()
        self.down_blocks = nn.ModuleList([nn.Module(), nn.Module()])
        self.down_blocks[1].attentions = nn.ModuleList([attention])
        attention.transformer_blocks, block.attn1, block.ff = nn.ModuleList([block]), held, feed
        held.to_q, held.to_out = nn.Linear(32, 24), nn.ModuleList([nn.Linear(24, 24)])
        feed.net = nn.ModuleList([nn.Identity(), nn.Identity(), nn.Linear(48, 16)])
        self.config = {"model_type": "none"}


def trained(config: Any, folder: Path) -> tuple[Path, Tensors, Tensors]:
    """A saved adapter of random numbers, the tensors of the layers before, and after PEFT merged it."""
    torch.manual_seed(0)
    layers = Layers()
    before = {key: tensor.clone() for key, tensor in layers.state_dict().items()}
    model = get_peft_model(layers, config)
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("oft_R", "boft_s", "ia3_l")):
            around = 1 if "ia3_l" in name or "boft_s" in name else 0
            parameter.data = torch.randn(parameter.shape) * 0.2 + around
    model.save_pretrained(str(folder))
    return folder / "adapter_model.safetensors", before, model.merge_and_unload().state_dict()


def check_alike(
    path: Path, before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], names: set[str]
) -> None:
    with open_adapter(path, SDXL, with_weights=True) as adapter:
        assert {name.removeprefix(f"unet.{UNET}.") for name in adapter.modules} == names
        for name, module in adapter.modules.items():
            path_in_diffusers = module.raw_name.removeprefix("base_model.model.")
            key = f"{path_in_diffusers}.{'bias' if name.endswith(BIAS) else 'weight'}"
            value = before[key]
            rows = value.reshape(len(value), -1)
            change = load_change(adapter, module, Held(rows))(rows, range(len(rows)))
            torch.testing.assert_close(rows + change, after[key].reshape(rows.shape), rtol=1e-5, atol=2e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OFT)
def test_peft_and_we_turn_inputs_alike(tmp_path: Path, name: str) -> None:
    config = OFTConfig(target_modules=["to_q", "net.2"], **OFT[name])
    check_alike(*trained(config, tmp_path), {"attn1.to_q", "ff.net.2"})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fields", [{"boft_block_size": 4}, {"boft_block_size": 0, "boft_block_num": 2}])
def test_peft_and_we_turn_by_a_butterfly_alike(tmp_path: Path, fields: dict[str, int]) -> None:
    """One stage: without a GPU PEFT makes no more."""
    config = BOFTConfig(target_modules=["to_q", "net.2"], **fields)
    check_alike(*trained(config, tmp_path), {"attn1.to_q", "ff.net.2"})


@pytest.mark.parametrize("stages", [2, 3])
def test_stages_meet_as_in_peft(tmp_path: Path, stages: int) -> None:
    """Its own permutations and turns, put together as `get_delta_weight` does."""
    turns, factors = 0.3 * torch.randn(stages, 8, 4, 4), 1 + 0.1 * torch.randn(24, 1)
    whole = torch.eye(32)
    for stage, blocks in enumerate(turns):
        order = BOFTLayer.block_butterfly_perm(None, 32, 8 // 2**stage, 2, stages - 1)
        mixed = BOFTLayer.perm2mat(None, order)
        turned = torch.block_diag(*BOFTLayer.cayley_batch(None, blocks))
        whole = mixed @ turned @ mixed.T @ whole
    name = "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    path = write_safetensors(tmp_path / "x.safetensors", {f"{name}.boft_R": turns, f"{name}.boft_s": factors})
    before = torch.randn(24, 32)
    after = (whole @ before.T).T * factors
    key = f"{name.removeprefix('base_model.model.')}.weight"
    check_alike(path, {key: before}, {key: after}, {"attn1.to_q"})


@pytest.mark.filterwarnings("ignore")
def test_peft_and_we_scale_alike(tmp_path: Path) -> None:
    """Outputs with their bias, inputs without."""
    config = IA3Config(target_modules=["to_q", "net.2"], feedforward_modules=["net.2"])
    check_alike(*trained(config, tmp_path), {"attn1.to_q", "attn1.to_q.bias", "ff.net.2"})


@pytest.mark.filterwarnings("ignore")
def test_without_its_config_no_turn_is_guessed(tmp_path: Path) -> None:
    path, _, _ = trained(OFTConfig(target_modules=["to_q"], oft_block_size=4), tmp_path)
    config = (tmp_path / CONFIG).read_text()
    (tmp_path / CONFIG).unlink()
    with pytest.raises(
        InputError, match="PEFT's config alone: use_cayley_neumann, num_cayley_neumann_terms"
    ) as caught:
        open_adapter(path, SDXL, with_weights=True)
    assert caught.value.fix == "put the adapter_config.json of the same training beside the file"
    (tmp_path / CONFIG).write_text(config.replace('terms": 5', 'terms": 5000000'))
    with pytest.raises(InputError, match=r"terms is 5e\+06; it should be a whole number from 1 to 64"):
        open_adapter(path, SDXL, with_weights=True)


def test_a_layer_without_a_bias_has_none_to_scale(tmp_path: Path) -> None:
    """SDXL's attn1.to_q has no bias; the module of it is optional."""
    name = "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    path = write_safetensors(tmp_path / "x.safetensors", {f"{name}.ia3_l": torch.ones(24, 1)})
    with open_adapter(path, SDXL, with_weights=True) as adapter:
        assert [(module.shape, module.optional) for module in adapter.modules.values()] == [
            ((24, -1), False), ((24,), True)
        ]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_factors_are_written_under_other_names(tmp_path: Path) -> None:
    """kohya's names say (IA)³ too, the bias with it; of OFT no other file says how it turns."""
    config = IA3Config(target_modules=["to_q"], feedforward_modules=[])
    path, _, _ = trained(config, tmp_path)
    made = convert_lora(path, "kohya", output=MEMORY).tensors
    assert list(made) == ["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.ia3_l"]
    with open_adapter(in_memory(dict(made)), with_weights=True) as adapter:
        assert [module.shape for module in adapter.modules.values()] == [(24, -1), (24,)]
    (tmp_path / "oft").mkdir()
    path, _, _ = trained(OFTConfig(target_modules=["to_q"], oft_block_size=4), tmp_path / "oft")
    with pytest.raises(InputError, match=r"1 module cannot be written for kohya: 1 OFT \(PEFT\)"):
        convert_lora(path, "kohya", output=MEMORY)
