"""Folders that we write: diffusers and transformers load them, every number where they put it themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
import loralathe
from loralathe.errors import InputError

pytest.importorskip("diffusers", reason="needs diffusers, the reader under test")
pytest.importorskip("transformers", reason="needs transformers: the text encoders")

from interop.models import load_models, pipeline_of
from interop.test_flux import as_original

NO_PLACE = ("position_ids", "logit_scale")
SHARD = "2MB"


class Written:
    """A checkpoint, the models that diffusers makes of it and saves, and the folder that we write."""

    def __init__(self, family: str, folder: Path) -> None:
        self.family, self.folder = family, folder
        self.tensors = checkpoints.tiny_checkpoint(family, seed=1, dtype="F32")
        save_file(self.tensors, folder / "a.safetensors")
        self.models = load_models(family, self.tensors)
        self.like, self.out = folder / "like", folder / "out"
        pipeline_of(family, self.models).save_pretrained(self.like)
        (self.like / "tokenizer").mkdir()
        (self.like / "tokenizer" / "vocab.json").write_text("{}")
        self.report = loralathe.convert(
            folder / "a.safetensors", layout="diffusers", shard_size=SHARD, like=self.like, output=self.out
        )


@pytest.fixture(scope="module", params=["sdxl", pytest.param("sd1", marks=pytest.mark.slow)])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(request.param, tmp_path_factory.mktemp(request.param))


def same_state(found: Any, wanted: Any) -> None:
    theirs, ours = wanted.state_dict(), found.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs if not key.endswith("position_ids"))


@pytest.mark.long
def test_every_network_loads_alone(written: Written) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    models = written.models
    loaded = [
        (UNet2DConditionModel, "unet", models.unet),
        (AutoencoderKL, "vae", models.vae),
        (CLIPTextModel, "text_encoder", models.te1),
        (CLIPTextModelWithProjection, "text_encoder_2", models.te2),
    ]
    for kind, name, model in loaded:
        if model is not None:
            folder = str(written.out / name)
            found, info = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
            same_state(found, model)
            assert not info["missing_keys"]
            assert not info["unexpected_keys"]


def test_the_pipeline_loads(written: Written) -> None:
    from diffusers import DiffusionPipeline

    none = {"tokenizer": None}  # the folder that it is like has a vocabulary only
    found: Any = DiffusionPipeline.from_pretrained(str(written.out), local_files_only=True, **none)
    same_state(found.unet, written.models.unet)
    same_state(found.vae, written.models.vae)


@pytest.mark.long
def test_a_round_trip_gives_every_byte_back(written: Written) -> None:
    back = written.folder / "back.safetensors"
    loralathe.convert(written.out, layout="original", output=back)
    found = load_file(back)
    wanted = {key: tensor for key, tensor in written.tensors.items() if not key.endswith(NO_PLACE)}
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor), key
    assert loralathe.verify(back).ok
    assert loralathe.compare(written.out, back).total.difference == 0


def test_what_is_in_the_folder(written: Written) -> None:
    names = {file.relative_to(written.out).as_posix() for file in written.out.rglob("*.json")}
    assert {"model_index.json", "unet/config.json", "vae/config.json", "tokenizer/vocab.json"} <= names
    assert "scheduler/scheduler_config.json" in names
    index = json.loads((written.out / "unet/diffusion_pytorch_model.safetensors.index.json").read_text())
    for file in set(index["weight_map"].values()):
        held = sum(tensor.nbytes for tensor in load_file(written.out / "unet" / file).values())
        assert held <= 2_000_000
    assert not (written.out / "unet" / "diffusion_pytorch_model.safetensors").exists()
    notes = " ".join(written.report.weights[0].notes)
    assert "without a place" in notes
    assert "not written" not in notes


@pytest.mark.slow
def test_a_folder_is_verified_and_a_changed_byte_found(written: Written) -> None:
    assert loralathe.verify(written.out, everything=True).ok
    file = written.out / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(file.read_bytes())
    before = bytes(data)
    data[-1] ^= 1
    file.write_bytes(data)
    try:
        checked = loralathe.verify(written.out, everything=True)
        assert [finding.place.split(".")[0] for finding in checked.findings] == ["first_stage_model"]
    finally:
        file.write_bytes(before)


@pytest.mark.slow
def test_a_folder_is_made_again_from_its_record(written: Written, tmp_path: Path) -> None:
    loralathe.run(written.out, output=tmp_path / "again", search=[written.folder])
    for file in written.out.rglob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(written.out)).read_bytes()
    assert "diffusers" in str(loralathe.recorded_recipe(written.out))


@pytest.mark.slow
def test_another_dtype_with_its_own_configs(written: Written, tmp_path: Path) -> None:
    out = tmp_path / "half"
    loralathe.convert(written.out, "fp16", layout="diffusers", output=out)
    assert (out / "model_index.json").read_bytes() == (written.out / "model_index.json").read_bytes()
    back = tmp_path / "half.safetensors"
    loralathe.convert(out, layout="original", output=back)
    for key, tensor in load_file(back).items():
        assert torch.equal(tensor, written.tensors[key].half()), key


@pytest.mark.slow
def test_what_cannot_be_known_is_told(written: Written, tmp_path: Path) -> None:
    report = loralathe.convert(written.folder / "a.safetensors", layout="diffusers", output=tmp_path / "out")
    notes = " ".join(report.weights[0].notes)
    assert "unet/config.json" in notes
    assert "model_index.json" in notes
    assert not list((tmp_path / "out").rglob("*.json"))
    assert loralathe.inspect(tmp_path / "out").kind == "checkpoint"
    with pytest.raises(InputError, match="no configuration of a"):
        loralathe.convert(
            written.folder / "a.safetensors", layout="diffusers", like=tmp_path, output=tmp_path / "other"
        )
    with pytest.raises(InputError, match="is for folders"):
        loralathe.convert(written.folder / "a.safetensors", "fp16", like=written.like)
    with pytest.raises(InputError, match="something in it"):
        loralathe.convert(written.folder / "a.safetensors", layout="diffusers", output=tmp_path / "out")


def test_flux_loads_from_the_folder(tmp_path: Path) -> None:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(1)
    model: Any = FluxTransformer2DModel(
        num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, in_channels=64,
        joint_attention_dim=48, pooled_projection_dim=24, axes_dims_rope=(4, 6, 6), guidance_embeds=True,
    )  # fmt: skip
    model.save_pretrained(tmp_path / "like" / "transformer")
    checkpoints.write_safetensors(tmp_path / "a.safetensors", as_original(dict(model.state_dict())))
    for like in (tmp_path / "like", tmp_path / "like" / "transformer"):
        out = tmp_path / f"out-{like.name}"
        loralathe.convert(
            tmp_path / "a.safetensors", layout="diffusers", shard_size="100kB", like=like, output=out
        )
        found = FluxTransformer2DModel.from_pretrained(str(out / "transformer"), local_files_only=True)
        same_state(found, model)
