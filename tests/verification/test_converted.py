"""LoRAs under other names: what their record says, and that verify finds every change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import loralathe
from checkpoints import tiny_lora, write_safetensors
from loralathe import InputError
from loralathe.tensorfiles import content_hash


@pytest.fixture
def hina(tmp_path: Path) -> Path:
    tensors = tiny_lora("flux-alone", rank=2, alpha=1.5, seed=1)
    return write_safetensors(tmp_path / "hina.safetensors", tensors)


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(str(path), "pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize("to", loralathe.written_dialects())
def test_the_record_names_the_lora_by_its_hash(hina: Path, to: str) -> None:
    made = loralathe.convert_lora(hina, to, dtype="bf16", force=True).path
    assert made is not None
    record = json.loads(metadata_of(made)["loralathe"])
    assert record["inputs"] == {
        "lora": {"file": hina.name, "size": hina.stat().st_size, "sha256": content_hash(hina)}
    }
    assert record["options"] == {"to": to, "family": "flux", "dtype": "bf16"}
    checked = loralathe.verify(made)
    assert checked.ok
    assert checked.total.checked == checked.total.tensors == len(load_file(made))
    assert checked.inputs == {"lora": hina}


def test_a_changed_number_is_found_and_one_too_many(hina: Path, tmp_path: Path) -> None:
    made = loralathe.convert_lora(hina, "peft").path
    assert made is not None
    tensors, metadata = load_file(made), metadata_of(made)
    name = next(iter(tensors))
    tensors[name].view(-1)[0] += 1
    tensors["transformer.more"] = torch.zeros(1)
    save_file(tensors, tmp_path / "changed.safetensors", metadata)
    checked = loralathe.verify(tmp_path / "changed.safetensors")
    assert {(one.place, one.what) for one in checked.findings} == {
        (name, "it is not the LoRA's"),
        ("transformer.more", "the LoRA gives no such tensor"),
    }


def test_a_folder_of_peft_is_verified(hina: Path, tmp_path: Path) -> None:
    loralathe.convert_lora(hina, "peft", output=tmp_path / "peft")
    assert loralathe.verify(tmp_path / "peft").ok


def test_another_lora_is_not_taken_for_it(hina: Path) -> None:
    made = loralathe.convert_lora(hina, "comfyui").path
    assert made is not None
    write_safetensors(hina, tiny_lora("flux-alone", rank=2, alpha=1.5, seed=2))
    with pytest.raises(InputError, match="1 of the recipe's 1 inputs is not in"):
        loralathe.verify(made)


def test_it_has_no_recipe_and_what_was_baked_is_not_verified(hina: Path, tmp_path: Path) -> None:
    made = loralathe.convert_lora(hina, "comfyui").path
    assert made is not None
    with pytest.raises(InputError, match="has no recipe"):
        loralathe.run(made, output=tmp_path / "again.safetensors")
    stem = "lora_unet_single_blocks_0_linear2"
    lokr = write_safetensors(
        tmp_path / "lokr.safetensors",
        {f"{stem}.lokr_w1": torch.randn(2, 2), f"{stem}.lokr_w2": torch.randn(4, 20)},
    )
    baked = loralathe.convert_lora(lokr, "peft", rank=2).path
    assert baked is not None
    assert json.loads(metadata_of(baked)["loralathe"])["options"] == {
        "to": "peft",
        "family": "flux",
        "rank": 2,
    }
    with pytest.raises(InputError, match="was decomposed"):
        loralathe.verify(baked)
