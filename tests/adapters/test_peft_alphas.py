"""Alphas that stand in metadata or beside the file; the numbers are judged in tests/interop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from checkpoints import write_safetensors
from loralathe.adapters import open_adapter
from loralathe.errors import InputError
from loralathe.families.sd1 import SD1

PATH = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"


def file_of(folder: Path, notes: object = None, wrapper: str = "unet.") -> Path:
    tensors = {}
    for name in ("to_q", "to_k"):
        tensors[f"{wrapper}{PATH}.{name}.lora_A.weight"] = torch.ones(4, 6)
        tensors[f"{wrapper}{PATH}.{name}.lora_B.weight"] = torch.ones(6, 4)
    text = notes if isinstance(notes, str) else json.dumps(notes)
    metadata = {} if notes is None else {"lora_adapter_metadata": text}
    return write_safetensors(folder / "a.safetensors", tensors, metadata)


def scales(path: Path) -> dict[str, float]:
    with open_adapter(path, SD1) as adapter:
        return {name.rpartition(".")[2]: module.scale for name, module in adapter.modules.items()}


def test_without_notes_alpha_is_the_rank(tmp_path: Path) -> None:
    assert scales(file_of(tmp_path)) == {"to_q": 1.0, "to_k": 1.0}


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ({"unet.lora_alpha": 6, "unet.r": 4}, {"to_q": 1.5, "to_k": 1.5}),
        ({"text_encoder.lora_alpha": 6}, {"to_q": 1.0, "to_k": 1.0}),
        ({"lora_alpha": 2}, {"to_q": 0.5, "to_k": 0.5}),
        ({"unet.lora_alpha": 6, "unet.use_rslora": True}, {"to_q": 3.0, "to_k": 3.0}),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {"to_q": 2}}, {"to_q": 0.5, "to_k": 1.5}),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {f"^{PATH}.to_k": 8}}, {"to_q": 1.5, "to_k": 2.0}),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {"o_q": 2}}, {"to_q": 1.5, "to_k": 1.5}),
    ],
    ids=["one", "another network", "bare", "rsLoRA", "pattern", "rooted pattern", "no part of a name"],
)
def test_notes_of_diffusers(tmp_path: Path, notes: object, expected: dict[str, float]) -> None:
    assert scales(file_of(tmp_path, notes)) == expected


def test_the_configuration_beside_a_file_of_peft(tmp_path: Path) -> None:
    path = file_of(tmp_path, wrapper="base_model.model.")
    assert scales(path) == {"to_q": 1.0, "to_k": 1.0}
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8, "r": 4}')
    assert scales(path) == {"to_q": 2.0, "to_k": 2.0}


def test_the_configuration_of_another_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8, "r": 4}')
    assert scales(file_of(tmp_path)) == {"to_q": 1.0, "to_k": 1.0}


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ("{", "Expecting property name"),
        ("[" * 100_000, "it is nested too deeply"),
        ("[]", "it is not a table of names"),
        ({"unet.lora_alpha": "6"}, "alpha '6' is not a number"),
        ({"unet.lora_alpha": True}, "alpha True is not a number"),
        ({"unet.lora_alpha": 0}, "alpha 0 gives no usable scale"),
        ('{"unet.lora_alpha": 1e999}', "alpha inf gives no usable scale"),
        ('{"unet.lora_alpha": 1' + "0" * 400 + "}", "alpha inf gives no usable scale"),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": [1]}, "alpha_pattern is not a table"),
        ({"unet.r": 0}, "the rank 0 is not a whole number of at least 1"),
        ({"unet.r": 0.5}, "the rank 0.5 is not a whole number"),
        ({"unet.rank_pattern": {"to_q": -4}}, "the rank -4 is not a whole number"),
        (
            {"unet.lora_alpha": 6, "unet.alpha_pattern": {"(a+)+$": 1}},
            "alpha_pattern '(a+)+$' is not",
        ),
    ],
    ids=[
        "cut",
        "deep",
        "list",
        "text",
        "bool",
        "zero",
        "infinite",
        "huge",
        "no table",
        "no rank",
        "half a rank",
        "below",
        "regex",
    ],
)
def test_notes_that_cannot_be_read(tmp_path: Path, notes: object, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        open_adapter(file_of(tmp_path, notes), SD1)
    assert str(caught.value).startswith(f"the notes with this LoRA's alpha cannot be read: {reason}")
    assert "metadata lora_adapter_metadata" in str(caught.value)
