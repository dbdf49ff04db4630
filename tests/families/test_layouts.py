"""Files in the diffusers layout are read as in the original one, by name maps of diffusers itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import checkpoints
from checkpoints import tiny_checkpoint, write_safetensors
from loralathe import InputError, block_norms, compare, convert, extract, inspect, merge
from loralathe.families import in_original_layout
from loralathe.tensorfiles import open_tensorfile

UNET = "model.diffusion_model."
MAPS = {
    "sd1": "map_sd15_unet",
    "sdxl": "map_sdxl_unet",
    "flux-alone": "map_flux_transformer",
    "sd35m": "map_sd35_medium_transformer",
    "klein4b": "map_klein4b_transformer",
    "chroma": "map_chroma_transformer",
    "zimage": "map_zimage_transformer",
    "qwen-image-2.1": "map_qwen_image_21_transformer",
    "krea2": "map_krea2_transformer",
    "anima": "map_anima_transformer",
}
ELSEWHERE = "llm_adapter."
"""A part of Anima's transformer that a pipeline has in a folder of its own, under its own names."""


def original(family: str) -> dict[str, torch.Tensor]:
    """The U-Net or transformer, its keys without a prefix."""
    tensors = tiny_checkpoint(family, seed=3)
    own = {key.removeprefix(UNET): tensor for key, tensor in tensors.items() if key.startswith(UNET)}
    return own or tensors


def in_diffusers(family: str) -> dict[str, torch.Tensor]:
    """The same as diffusers names, cuts and swaps it."""
    tensors, found = original(family), {}
    full = {
        key.removeprefix(UNET): spec
        for key, spec in checkpoints.manifest(checkpoints.FAMILIES[family][0]).items()
    }
    for one, other in checkpoints.raw_manifest(MAPS[family]).items():
        if family in ("sd1", "sdxl"):
            found[str(other)] = tensors[one.removeprefix(UNET)]
            continue
        place = other if isinstance(other, dict) else {"original": other}
        key = str(place["original"]).removeprefix(UNET)
        source = tensors.get(key)
        if source is None:
            continue  # blocks that the narrow file leaves out
        if place.get("rows"):
            unit = len(source) / full[key].shape[0]
            source = source[round(place["rows"][0] * unit) : round(place["rows"][1] * unit)]
        if shape := place.get("diffusers_shape"):
            source = source.reshape(shape[0], -1)
        found[one] = source.roll(len(source) // 2, 0) if place.get("halves_swapped") else source
    adapter = {key: tensor for key, tensor in tensors.items() if key.startswith(ELSEWHERE)}
    if adapter:
        found = {f"transformer.{key}": tensor for key, tensor in found.items()}
        found |= {f"text_conditioner.{key.removeprefix(ELSEWHERE)}": one for key, one in adapter.items()}
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layouts")
    for family in MAPS:
        tensors = in_diffusers(family)
        write_safetensors(
            path / f"{family}.safetensors", {key: one.contiguous() for key, one in tensors.items()}
        )
        own = {UNET + key: tensor for key, tensor in original(family).items()}
        write_safetensors(path / f"{family}-original.safetensors", own)
    return path


@pytest.mark.parametrize("family", MAPS)
def test_every_number_is_where_it_belongs(folder: Path, family: str) -> None:
    wanted = original(family)
    with open_tensorfile(folder / f"{family}.safetensors") as file:
        view = in_original_layout(file)
        assert view is not file
        assert {key.removeprefix(UNET) for key in view.header.tensors} == wanted.keys()
        for key, info in view.header.tensors.items():
            tensor = view.read(key)
            assert torch.equal(tensor, wanted[key.removeprefix(UNET)]), key
            some = bytearray(max(1, info.nbytes // 3))
            view.readinto(info, memoryview(some), info.nbytes // 2)
            whole = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            assert bytes(some) == whole[info.nbytes // 2 :][: len(some)]


SLOW = [pytest.param(family, marks=pytest.mark.slow if family == "sdxl" else ()) for family in MAPS]


@pytest.mark.parametrize("family", SLOW)
def test_a_folder_holds_what_diffusers_makes_of_it(folder: Path, tmp_path: Path, family: str) -> None:
    convert(folder / f"{family}-original.safetensors", layout="diffusers", output=tmp_path / "out")
    found = {
        (file.parent.name, key): tensor
        for file in (tmp_path / "out").rglob("*.safetensors")
        for key, tensor in load_file(file).items()
    }
    wanted = {}
    for key, tensor in in_diffusers(family).items():
        start, _, rest = key.partition(".")
        elsewhere = start in ("transformer", "text_conditioner")
        network = "unet" if family in ("sd1", "sdxl") else "transformer"
        wanted[(start, rest) if elsewhere else (network, key)] = tensor
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in wanted.items())
    with open_tensorfile(tmp_path / "out") as file:
        view, own = in_original_layout(file), original(family)
        assert {key.removeprefix(UNET) for key in view.header.tensors} == own.keys()
        assert all(torch.equal(view.read(key), own[key.removeprefix(UNET)]) for key in view.header.tensors)


@pytest.mark.parametrize("family", ["flux-alone", pytest.param("sdxl", marks=pytest.mark.slow)])
def test_merges_and_extractions_are_those_of_the_original_layout(folder: Path, family: str) -> None:
    lora = checkpoints.tiny_lora(family, rank=2, alpha=1, seed=4)
    lora = {key: tensor for key, tensor in lora.items() if key.startswith("lora_unet_")}
    made = []
    for name in (family, f"{family}-original"):
        output = folder / f"merged-{name}.safetensors"
        merge(folder / f"{name}.safetensors", lora, output=output)
        made.append(load_file(output))
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])
    again = folder / f"again-{family}.safetensors"
    extract(folder / f"merged-{family}.safetensors", folder / f"{family}.safetensors", rank=2, output=again)
    assert inspect(again).kind == "adapter"


def test_compare_finds_no_difference_between_the_layouts(folder: Path) -> None:
    found = compare(folder / "flux-alone.safetensors", folder / "flux-alone-original.safetensors")
    assert found.total.difference == 0
    assert block_norms(folder / "flux-alone.safetensors")[-1].norm > 0


def test_inspect_says_how_the_file_is_laid_out(folder: Path) -> None:
    found = inspect(folder / "flux-alone.safetensors")
    assert (found.kind, found.family, found.layout) == ("checkpoint", "flux", "diffusers")
    assert [part.name for part in found.parts] == ["transformer"]


def test_a_shard_alone_is_told_by_its_name(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "flux-alone.safetensors")
    half = dict(list(tensors.items())[::2])
    path = write_safetensors(tmp_path / "diffusion_pytorch_model-00001-of-00002.safetensors", half)
    with pytest.raises(InputError, match="one of 2 shards of a model"):
        convert(path, "fp16")


def test_a_folder_given_as_a_lora_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    shutil.copy(
        folder / "flux-alone.safetensors", tmp_path / "transformer/diffusion_pytorch_model.safetensors"
    )
    with pytest.raises(InputError, match="this is not a LoRA"):
        merge(folder / "flux-alone-original.safetensors", tmp_path)


def test_a_file_that_lacks_a_slice_is_no_such_view(folder: Path) -> None:
    tensors = load_file(folder / "flux-alone.safetensors")
    del tensors["transformer_blocks.0.attn.to_k.weight"]
    path = write_safetensors(folder / "lacking.safetensors", tensors)
    with open_tensorfile(path) as file:
        assert in_original_layout(file) is file
    assert inspect(path).what == "a Flux transformer in the diffusers layout"
