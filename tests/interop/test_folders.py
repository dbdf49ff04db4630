"""Folders that diffusers wrote are checkpoints: every number where its own converter put it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
import loralathe
from loralathe.errors import InputError
from loralathe.families import in_original_layout
from loralathe.tensorfiles import open_tensorfile

pytest.importorskip("diffusers", reason="needs diffusers, which writes the folders")
pytest.importorskip("transformers", reason="needs transformers: the text encoders")

from interop.models import Models, load_models

NO_PLACE = ("position_ids", "logit_scale")
"""Ends of the keys that the folder has no tensor for."""


def save_pipeline(models: Models, folder: Path) -> Path:
    """A folder as diffusers' pipelines are saved, the U-Net in shards."""
    models.unet.save_pretrained(folder / "unet", max_shard_size="2MB")  # type: ignore[operator]
    models.vae.save_pretrained(folder / "vae")  # type: ignore[operator]
    for name, encoder in (("text_encoder", models.te1), ("text_encoder_2", models.te2)):
        if encoder is not None:
            encoder.save_pretrained(folder / name)  # type: ignore[operator]
    (folder / "model_index.json").write_text("{}")
    return folder


@pytest.fixture(scope="module", params=["sdxl", pytest.param("sd1", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base.safetensors` in the original layout, and `pipe`, the same as diffusers converts and saves it."""
    place = tmp_path_factory.mktemp(request.param)
    tensors = checkpoints.tiny_checkpoint(request.param, seed=1, dtype="F32")
    kept = {key: tensor for key, tensor in tensors.items() if not key.endswith(NO_PLACE)}
    save_file(kept, place / "base.safetensors")
    save_pipeline(load_models(request.param, tensors), place / "pipe")
    lora = checkpoints.tiny_lora(request.param, rank=2, alpha=1, seed=4)
    save_file(lora, place / "hina.safetensors")
    return place


def test_every_tensor_is_that_of_the_single_file(folder: Path) -> None:
    wanted = load_file(folder / "base.safetensors")
    with open_tensorfile(folder / "pipe") as file:
        view = in_original_layout(file)
        assert view.header.tensors.keys() == wanted.keys()
        assert (view.left_out, view.lost) == ((), 0)
        for key, tensor in wanted.items():
            assert torch.equal(view.read(key), tensor), key
        for key in wanted:  # in pieces, as bands are read
            info = view.info(key)
            some = bytearray(info.nbytes // 3)
            view.readinto(info, memoryview(some), info.nbytes // 2)
            there = wanted[key].numpy().tobytes()[info.nbytes // 2 :]
            assert bytes(some) == there[: len(some)], key


@pytest.mark.long
def test_inspect_and_compare(folder: Path) -> None:
    found = loralathe.inspect(folder / "pipe")
    assert (found.kind, found.layout) == ("checkpoint", "diffusers")
    assert found.checkpoint is not None
    assert "unet/diffusion_pytorch_model-00001-of-" in " ".join(found.files)
    assert {"U-Net", "text encoder 1", "VAE"} <= {part.name for part in found.parts}
    assert loralathe.inspect(folder / "pipe" / "unet").family == found.family
    compared = loralathe.compare(folder / "pipe", folder / "base.safetensors")
    assert compared.total.difference == 0
    assert compared.only_x == compared.only_y == ()


@pytest.mark.slow
def test_a_merge_is_that_of_the_single_file_and_is_verified(folder: Path) -> None:
    made = []
    for base in ("pipe", "base.safetensors"):
        output = folder / f"merged-{base}.safetensors"
        loralathe.merge(folder / base, str(folder / "hina.safetensors:0.7"), output=output, force=True)
        made.append(load_file(output))
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])
    checked = loralathe.verify(folder / "merged-pipe.safetensors")
    assert checked.ok
    assert folder / "pipe" in checked.inputs.values()
    assert loralathe.merge.prepare(folder / "pipe", folder / "hina.safetensors").recipe.saves[0].file == (
        folder / "pipe+hina1.safetensors"
    )


def test_names_find_folders(folder: Path) -> None:
    for name in ("pipe", "PIPE"):
        assert loralathe.find_file(name, checkpoint_dir=folder) == folder / "pipe"
    with pytest.raises(InputError, match="no file is called 'unet'"):
        loralathe.find_file("unet", checkpoint_dir=folder)


def test_what_is_no_network_is_told(folder: Path) -> None:
    checker = folder / "pipe" / "safety_checker"
    checker.mkdir()
    save_file({"concept_embeds": torch.zeros(3)}, checker / "model.safetensors")
    try:
        assert loralathe.inspect(folder / "pipe").left_out == ("safety_checker",)
        report = loralathe.convert(folder / "pipe", "fp16", output=loralathe.MEMORY)
        assert any("1 tensor beside the model, not read: safety_checker" in one for one in report.warnings)
    finally:
        (checker / "model.safetensors").unlink()
        checker.rmdir()


@pytest.mark.long
def test_a_scheduler_that_predicts_v_gives_the_marks(folder: Path) -> None:
    config = folder / "pipe" / "scheduler" / "scheduler_config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}))
    try:
        found = loralathe.inspect(folder / "pipe")
        assert found.checkpoint is not None
        if found.family == "sdxl":
            assert found.checkpoint.prediction == "v"
            output = folder / "v.safetensors"
            loralathe.convert(folder / "pipe", "fp16", output=output)
            assert {"v_pred", "ztsnr"} <= load_file(output).keys()
        else:
            assert found.checkpoint.prediction == "epsilon"
    finally:
        config.unlink()
        config.parent.rmdir()


def test_a_network_without_a_layer_is_refused(folder: Path, tmp_path: Path) -> None:
    shard = next((folder / "pipe" / "unet").glob("*-00001-*.safetensors"))
    tensors = {
        key: tensor
        for file in shard.parent.glob("*.safetensors")
        for key, tensor in load_file(file).items()
        if key != "conv_in.bias"
    }
    save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(InputError, match="incomplete: 1 tensor"):
        loralathe.convert(tmp_path, "fp16")
