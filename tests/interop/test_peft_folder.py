"""Folders of PEFT that `convert --to peft` writes: PEFT loads them, and adds the same to every weight."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import loralathe
from checkpoints import raw_manifest, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe import InputError

pytest.importorskip("peft", reason="needs peft, the reader under test")
pytest.importorskip("diffusers", reason="needs diffusers")

from interop.models import unet_config
from interop.test_convert import FLUX, check, flux_lora, wanted


def merged(model: Any, folder: Path) -> dict[str, torch.Tensor]:
    """What PEFT's adapter in a folder adds to a model."""
    from peft import PeftModel

    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrapped = PeftModel.from_pretrained(model, str(folder))
    assert not [one for one in caught if re.search("missing|unexpected", str(one.message))]
    wrapped.merge_adapter()
    after = {
        key.removeprefix("base_model.model.").replace(".base_layer", ""): tensor
        for key, tensor in wrapped.state_dict().items()
    }
    return {key: after[key] - tensor for key, tensor in before.items() if (after[key] - tensor).any()}


def test_flux_with_alphas_and_ranks_of_its_layers(tmp_path: Path) -> None:
    from diffusers import FluxTransformer2DModel

    given = flux_lora()
    for number, key in enumerate(sorted(key for key in given if key.endswith(".alpha"))):
        given[key] = torch.tensor(1.0 + number / 2)
    stem = next(key for key in given if "linear2" in key).partition(".")[0]
    for end, cut in (("lora_up", (slice(None), slice(2))), ("lora_down", (slice(2),))):
        given[f"{stem}.{end}.weight"] = given[f"{stem}.{end}.weight"][cut].contiguous()
    lora = write_safetensors(tmp_path / "hina.safetensors", given)
    made = loralathe.convert_lora(lora, "peft", output=tmp_path / "hina-peft")
    assert made.path == tmp_path / "hina-peft"
    assert sorted(one.name for one in made.path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((made.path / "adapter_config.json").read_text())
    assert config["r"] == 4
    assert list(config["rank_pattern"].values()) == [2]
    assert config["use_dora"] is False
    found = merged(FluxTransformer2DModel(**FLUX).double(), made.path)
    check(found, wanted(given, raw_manifest("map_flux_transformer")))
    half = load_file(lora)
    written = load_file(made.path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.float16}
    plain = next(key for key in half if "linear2.lora_down" in key)
    assert any(torch.equal(tensor, half[plain]) for tensor in written.values())


def test_our_own_reading_is_the_same(tmp_path: Path) -> None:
    lora = write_safetensors(tmp_path / "hina.safetensors", flux_lora())
    loralathe.convert_lora(lora, "peft", output=tmp_path / "peft")
    compared = loralathe.compare(lora, tmp_path / "peft")
    assert compared.total.difference == pytest.approx(0, abs=1e-12)
    assert not compared.only_x
    assert not compared.only_y


def test_several_networks_are_folders_of_their_own(tmp_path: Path) -> None:
    given = tiny_lora("sd1", rank=4, alpha=2, seed=1)
    modules = sorted({key.split(".")[0] for key in given})[::12]
    given = {key: tensor for key, tensor in given.items() if key.split(".")[0] in modules}
    lora = write_safetensors(tmp_path / "hina.safetensors", given)
    made = loralathe.convert_lora(lora, "peft", output=tmp_path / "peft")
    assert sorted(one.name for one in (tmp_path / "peft").iterdir()) == ["text_encoder", "unet"]
    from diffusers import UNet2DConditionModel

    checkpoint = tiny_checkpoint("sd1", seed=1)
    model = UNet2DConditionModel(**unet_config("sd1", checkpoint)).double()
    names = {str(value): key for key, value in raw_manifest("map_sd15_unet").items()}
    check(merged(model, tmp_path / "peft" / "unet"), wanted(given, names))
    assert made.modules == {"LoRA": len(modules)}
    assert loralathe.inspect(tmp_path / "peft" / "text_encoder").family == "sd1"
    assert loralathe.verify(tmp_path / "peft").ok
    assert loralathe.verify(tmp_path / "peft" / "unet", search=[tmp_path]).ok
    compared = loralathe.compare(lora, tmp_path / "peft")
    assert compared.total.difference == pytest.approx(0, abs=1e-6)
    assert compared.total.items == len(modules)
    assert not compared.only_x
    assert not compared.only_y


def test_dora_is_told_in_the_config(tmp_path: Path) -> None:
    given = flux_lora()
    for key in [key for key in given if key.endswith(".lora_up.weight")]:
        stem = key.removesuffix(".lora_up.weight")
        given[f"{stem}.dora_scale"] = torch.rand(len(given[key]), 1) + 0.5
    lora = write_safetensors(tmp_path / "hina.safetensors", given)
    loralathe.convert_lora(lora, "peft", output=tmp_path / "peft")
    assert json.loads((tmp_path / "peft" / "adapter_config.json").read_text())["use_dora"] is True
    compared = loralathe.inspect(tmp_path / "peft")
    assert "DoRA" in compared.what
    del given[f"{stem}.dora_scale"]
    lora = write_safetensors(tmp_path / "mixed.safetensors", given)
    with pytest.raises(InputError, match="some layers are DoRA"):
        loralathe.convert_lora(lora, "peft", output=tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()


def test_other_dialects_are_files(tmp_path: Path) -> None:
    lora = write_safetensors(tmp_path / "hina.safetensors", flux_lora())
    with pytest.raises(InputError, match="a LoRA for diffusers is one file"):
        loralathe.convert_lora(lora, "diffusers", output=tmp_path / "folder")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something in it"):
        loralathe.convert_lora(lora, "peft", output=tmp_path / "full")
