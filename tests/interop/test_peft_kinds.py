"""PEFT's kinds of adapter that are not read: named as what they are, by the list of the installed PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import loralathe
from checkpoints import MANIFESTS, manifest, tiny_checkpoint, write_safetensors
from loralathe.adapters.foreign import OTHERS, PROMPTS, foreign_kind
from loralathe.adapters.notes import CONFIG
from loralathe.errors import InputError

pytest.importorskip("peft", reason="needs peft, whose kinds these are")
from peft import get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING

READ = {"LORA", "LOHA", "LOKR", "OFT", "BOFT", "IA3"}
MORE: dict[str, dict[str, Any]] = {
    "LN_TUNING": {"target_modules": ["norm"]},
    "ADALORA": {"total_step": 10},
    "C3A": {"block_size": 4},
    "FOURIERFT": {"n_frequency": 4},
    "WAVEFT": {"n_frequency": 4},
    "VBLORA": {"num_vectors": 4, "vector_length": 4, "topk": 2},
    "MISS": {"r": 4},
    "SHIRA": {"r": 2},
    "ROAD": {"group_size": 4},
}
UNMADE = {"ADAMSS", "ADAPTION_PROMPT", "SHADOW", "XLORA", *PROMPTS}
"""They need a language model, or a package that is not here."""
MADE = sorted({kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING} - READ - UNMADE)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        attention, block, attn = nn.Module(), nn.Module(), nn.Module()
        self.down_blocks = nn.ModuleList([nn.Module()])
        self.down_blocks[0].attentions = nn.ModuleList([attention])
        attention.transformer_blocks, block.attn1 = nn.ModuleList([block]), attn
        attn.to_q, attn.to_k, self.norm = nn.Linear(32, 32), nn.Linear(32, 32), nn.LayerNorm(32)
        self.config = {"model_type": "none"}


def test_every_kind_is_known() -> None:
    kinds = {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    assert kinds <= READ | OTHERS.keys() | PROMPTS.keys()
    for kind in kinds - READ - PROMPTS.keys() - {"ADALORA"}:  # AdaLoRA's is a LoRA's
        prefix = PEFT_TYPE_TO_PREFIX_MAPPING[kind]
        start = OTHERS[kind][1].split("(")[0]
        assert start.startswith(prefix) or prefix.startswith(start), kind


@pytest.mark.long
@pytest.mark.quick(12)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MADE)
def test_what_peft_saves_is_named(tmp_path: Path, kind: str) -> None:
    fields = {"target_modules": ["to_q", "to_k"]} | MORE.get(kind, {})
    get_peft_model(Layers(), PEFT_TYPE_TO_CONFIG_MAPPING[kind](**fields)).save_pretrained(str(tmp_path))
    (tmp_path / CONFIG).unlink()
    check_named(tmp_path, OTHERS[kind][0])


@pytest.mark.parametrize("kind", sorted(UNMADE))
def test_the_config_beside_a_file_names_it(tmp_path: Path, kind: str) -> None:
    save_file({"something": torch.ones(2, 3)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / CONFIG).write_text(f'{{"peft_type": "{kind}"}}')
    check_named(tmp_path, PROMPTS.get(kind) or OTHERS[kind][0])


def test_a_tuned_prompt_is_named_by_its_tensor(tmp_path: Path) -> None:
    save_file({"prompt_embeddings": torch.ones(2, 3)}, tmp_path / "adapter_model.safetensors")
    check_named(tmp_path, "a tuned prompt")


def check_named(folder: Path, label: str) -> None:
    adapter = folder / "adapter_model.safetensors"
    base = write_safetensors(folder / "base.safetensors", tiny_checkpoint("sd1", seed=1))
    with pytest.raises(InputError) as caught:
        loralathe.merge(base, adapter)
    assert f"not read: {label} (PEFT)" in str(caught.value)
    assert "weighted-sum" not in str(caught.value)
    with pytest.raises(InputError, match="not read: "):
        loralathe.resize(adapter, rank=2)


def test_inspect_says_what_it_is(tmp_path: Path) -> None:
    name = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.vera_lambda_b"
    save_file({name: torch.ones(4)}, tmp_path / "a.safetensors")
    found = loralathe.inspect(tmp_path / "a.safetensors")
    assert (found.kind, found.what) == ("adapter", "VeRA (PEFT)")
    assert "merge it into its base with PEFT" in str(found.note)


def test_nothing_else_is_taken_for_one() -> None:
    for path in sorted(MANIFESTS.glob("*.json.gz")):
        if path.name.startswith(("ckpt", "lora_", "diffusers")):
            assert foreign_kind(manifest(path.name.removesuffix(".json.gz"))) is None, path.name
