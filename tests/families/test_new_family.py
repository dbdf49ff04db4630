"""A new family is one file: one that exists only here is inspected, merged, extracted and compared."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import loralathe
from checkpoints import header_of
from loralathe.adapters import detect_adapter
from loralathe.cli import lathe
from loralathe.errors import InputError
from loralathe.families import FAMILIES, Family, block_lists, detect_checkpoint, register

Tensors = dict[str, torch.Tensor]
WIDTH = 16
UNET, TEXT = "model.diffusion_model.", "toy_text.transformer.text_model."


@pytest.fixture(scope="module")
def toy() -> Iterator[Family]:
    """The family, known while the tests of this file run."""
    family: Family = importlib.import_module("families.toy_family").TOY
    yield family
    FAMILIES.remove(family)  # type: ignore[attr-defined]


def checkpoint(seed: int, near: Tensors | None = None) -> Tensors:
    """All tensors of a toy model with three layers and a refiner; `near` one, another that is close to it."""
    dice = torch.Generator().manual_seed(seed)
    shapes = {f"{UNET}patch_in": (WIDTH, 16), f"{UNET}text_in": (WIDTH, WIDTH), f"{UNET}head": (32, WIDTH)}
    for i in range(3):
        block = f"{UNET}layers.{i}"
        shapes |= {f"{block}.attention.qkv": (3 * WIDTH, WIDTH), f"{block}.attention.out": (WIDTH, WIDTH)}
        shapes |= {f"{block}.mlp.0": (2 * WIDTH, WIDTH), f"{block}.mlp.2": (WIDTH, 2 * WIDTH)}
    shapes[f"{UNET}refiner.0.mix"] = (WIDTH, WIDTH)
    for leaf in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1"):
        shapes[f"{TEXT}encoder.layers.0.{leaf}"] = (WIDTH, WIDTH)
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = torch.randn(shape, generator=dice)
        tensors[f"{name}.bias"] = torch.randn(shape[0], generator=dice)
    tensors |= {f"{UNET}layers.{i}.norm.scale": torch.ones(WIDTH) for i in range(3)}
    tensors["toy_steps"] = torch.tensor([7])
    if near is None:
        return tensors
    linear = {key for key in tensors if key.endswith(".weight") and re.search(r"layers\.|refiner\.", key)}
    return {key: near[key] + 0.1 * tensors[key] if key in linear else near[key] for key in near}


def lora(*, diffusers: bool = False) -> Tensors:
    """Rank 2 on three blocks and the text encoder; with diffusers' names q, k and v apart."""
    dice = torch.Generator().manual_seed(9)
    prefix, up, down = "lora_unet_layers_{}_attention_qkv", "lora_up", "lora_down"
    names = [(prefix.format(i), 3 * WIDTH) for i in range(3)] + [("lora_unet_refiner_0_mix", WIDTH)]
    if diffusers:
        paths = [f"transformer.transformer_blocks.{i}.attn.to_{letter}" for i in range(3) for letter in "qkv"]
        names = [(path, WIDTH) for path in [*paths, "transformer.refiner_blocks.0.proj"]]
        up, down = "lora_B", "lora_A"
    else:
        names.append(("lora_te1_text_model_encoder_layers_0_mlp_fc1", WIDTH))
    tensors = {}
    for name, rows in names:
        tensors[f"{name}.{up}.weight"] = torch.randn(rows, 2, generator=dice)
        tensors[f"{name}.{down}.weight"] = torch.randn(2, WIDTH, generator=dice)
    return tensors


@pytest.fixture
def folder(toy: Family, tmp_path: Path) -> Path:
    base = checkpoint(1)
    save_file(base, tmp_path / "base.safetensors")
    save_file(checkpoint(2, near=base), tmp_path / "tuned.safetensors")
    save_file(lora(), tmp_path / "lora.safetensors")
    save_file(lora(diffusers=True), tmp_path / "diffusers.safetensors")
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A command in the folder of the files, which must succeed; what it printed."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LORALATHE_CACHE", str(folder / "cache"))

    def call(*words: str) -> str:
        result = CliRunner().invoke(lathe, list(words), prog_name="lathe")
        assert result.exit_code == 0, result.output
        return result.output

    return call


def test_every_tensor_and_name_goes_there_and_back(toy: Family) -> None:
    tensors = checkpoint(1)
    assert all(toy.knows_key(key) != (toy.rule_for_key(key) == "toy counters") for key in tensors)
    modules = toy.modules(tensors)
    assert {toy.module_of_kohya(toy.kohya_name(name)) for name in modules} == modules.keys()
    assert toy.module_of_diffusers("unet", "transformer_blocks.2.ff.net.2") == "unet.layers.2.mlp.2"
    assert toy.module_of_diffusers("unet", "transformer_blocks.2.attn.to_k") == "unet.layers.2.attention.qkv"
    piece = toy.component("unet").piece_of_diffusers("transformer_blocks.1.norm1.weight")
    assert piece is not None
    assert piece.key == f"{UNET}layers.1.norm.scale"


def test_blocks(toy: Family) -> None:
    assert toy.long_blocks == ("TEXT", "FIRST", "L00", "L01", "L02", "L03", "R00", "R01", "LAST")
    assert toy.short_blocks == toy.long_blocks[2:-1]
    assert block_lists()[9] == toy.long_blocks
    blocks = {toy.block_of_key(key) for key in checkpoint(1)}
    assert blocks == {"TEXT", "FIRST", "L00", "L01", "L02", "R00", "LAST", None}


def test_files_are_recognised(toy: Family) -> None:
    whole = checkpoint(1)
    found = detect_checkpoint(header_of(whole))
    assert (found.family, found.variant, found.components) == (toy, "base", ("unet", "te1"))
    alone = {key.removeprefix(UNET): tensor for key, tensor in whole.items() if key.startswith(UNET)}
    assert detect_checkpoint(header_of(alone)).family is toy
    marked = detect_checkpoint(header_of(whole | {"toy_v": torch.zeros(0)}))
    assert (marked.prediction, marked.prediction_source) == ("v", "the file carries the mark toy_v")
    for names in (lora(), lora(diffusers=True)):
        assert detect_adapter(header_of(names)).families == (toy,)
    del whole[f"{UNET}layers.1.mlp.0.weight"]
    with pytest.raises(InputError, match="this Toy checkpoint is incomplete: 1 tensor of its transformer"):
        detect_checkpoint(header_of(whole))
    with pytest.raises(InputError, match=r"not a checkpoint of SD 1\.5, .* or Toy:"):
        detect_checkpoint(header_of({"weight": torch.zeros(1)}))


def test_inspect(folder: Path, run: Callable[..., str]) -> None:
    found = loralathe.inspect(folder / "base.safetensors")
    assert (found.what, found.family) == ("Toy checkpoint", "toy")
    assert [part.name for part in found.parts] == ["transformer", "toy text encoder", "other"]
    assert re.search(r"9 .*: TEXT FIRST L00…L03 R00 R01 LAST", run("inspect", "base.safetensors"))
    adapter = loralathe.inspect(folder / "lora.safetensors").adapter
    assert adapter is not None
    assert [entry.block for entry in adapter.coverage] == ["TEXT", "L00", "L01", "L02", "R00"]
    assert adapter.missing == ("L03", "R01")


SPELLINGS = {
    "1,1,0.5,0,0.25,1,2,1,1": {"L00": 0.5, "L01": 0, "L02": 0.25, "R00": 2, "TEXT": 1},
    "0.5,0,0.25,1,2,1": {"L00": 0.5, "L01": 0, "L02": 0.25, "R00": 2, "TEXT": 1},
    "L00=0.5,R00=2,TEXT=3,*=0": {"L00": 0.5, "L01": 0, "L02": 0, "R00": 2, "TEXT": 3},
    "LATE": {"L00": 0, "L01": 0, "L02": 1, "R00": 1, "TEXT": 0},
    "Mine": {"L00": 1, "L01": 1, "L02": 1, "R00": 0, "TEXT": 1},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_merge_by_blocks(folder: Path, run: Callable[..., str], spelling: str) -> None:
    """A list, names, a preset of the family, a preset of the person."""
    weights = SPELLINGS[spelling]
    item = f"lora.safetensors:0.5:lbw={spelling}"
    run(
        "merge",
        "base.safetensors",
        item,
        "--blocks",
        "Mine=R00=0",
        "--dtype",
        "fp32",
        "-o",
        "out.safetensors",
    )
    base, out = checkpoint(1), load_file(folder / "out.safetensors")
    places = {f"layers.{i}.attention.qkv": f"L0{i}" for i in range(3)} | {"refiner.0.mix": "R00"}
    tensors = lora()
    for path, block in places.items():
        name = f"lora_unet_{path.replace('.', '_')}"
        delta = tensors[f"{name}.lora_up.weight"] @ tensors[f"{name}.lora_down.weight"]
        key = f"{UNET}{path}.weight"
        torch.testing.assert_close(out[key], base[key] + 0.5 * weights[block] * delta)
    name = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    delta = tensors[f"{name}.lora_up.weight"] @ tensors[f"{name}.lora_down.weight"]
    key = f"{TEXT}encoder.layers.0.mlp.fc1.weight"
    torch.testing.assert_close(out[key], base[key] + 0.5 * weights["TEXT"] * delta)


def test_weighted_sum_by_blocks(run: Callable[..., str], folder: Path) -> None:
    formula = "weighted_sum(A, B, 'FIRST=1,L00=0.25,*=0.5')"
    inputs = ("A=base.safetensors", "B=tuned.safetensors")
    run("eval", formula, *inputs, "--dtype", "fp32", "-o", "out.safetensors")
    base, out = checkpoint(1), load_file(folder / "out.safetensors")
    tuned = checkpoint(2, near=base)
    for layer, weight in (("0", 0.25), ("1", 0.5)):
        key = f"{UNET}layers.{layer}.mlp.0.weight"
        torch.testing.assert_close(out[key], base[key] + weight * (tuned[key] - base[key]))


def test_merge_with_the_names_of_diffusers(folder: Path, run: Callable[..., str]) -> None:
    run("merge", "base.safetensors", "diffusers.safetensors", "--dtype", "fp32", "-o", "out.safetensors")
    base, out, tensors = checkpoint(1), load_file(folder / "out.safetensors"), lora(diffusers=True)
    rows = [
        tensors[f"transformer.transformer_blocks.1.attn.to_{letter}.lora_B.weight"]
        @ tensors[f"transformer.transformer_blocks.1.attn.to_{letter}.lora_A.weight"]
        for letter in "qkv"
    ]
    key = f"{UNET}layers.1.attention.qkv.weight"
    torch.testing.assert_close(out[key], base[key] + torch.cat(rows))


def test_extract_and_compare(folder: Path, run: Callable[..., str]) -> None:
    words = ("--rank", "16", "--dtype", "fp32", "-o", "made.safetensors")
    run("extract", "tuned.safetensors", "base.safetensors", *words)
    with safe_open(folder / "made.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_module"] == "networks.lora_toy"
    assert metadata["ss_base_model_version"] == "toy_v1"
    assert metadata["modelspec.architecture"] == "toy-1/lora"
    made = detect_adapter(header_of(load_file(folder / "made.safetensors")))
    assert made.families == (FAMILIES[-1],)
    run("merge", "base.safetensors", "made.safetensors", "--dtype", "fp32", "-o", "again.safetensors")
    again, tuned = load_file(folder / "again.safetensors"), load_file(folder / "tuned.safetensors")
    for key, tensor in tuned.items():
        torch.testing.assert_close(again[key], tensor, rtol=1e-4, atol=1e-4)
    found = loralathe.compare(folder / "tuned.safetensors", folder / "base.safetensors")
    assert found.family == "toy"
    assert "L00" in run("compare", "tuned.safetensors", "base.safetensors")
    run("verify", "again.safetensors")


def test_pictures_are_refused_in_words(folder: Path, run: Callable[..., str]) -> None:
    result = CliRunner().invoke(lathe, ["render", "base.safetensors", "--prompt", "a cat"], prog_name="lathe")
    assert result.exit_code == 2
    assert "Toy models cannot be rendered here; SD 1.5, SD 2, SDXL" in result.output


def test_two_families_of_one_name(toy: Family) -> None:
    with pytest.raises(ValueError, match="two families called 'toy'"):
        register(toy)


def test_blocks_by_weights(folder: Path, run: Callable[..., str]) -> None:
    output = run("blocks", "base.safetensors", "lora.safetensors", "--weights", "--out", "found")
    assert all(block in output for block in ("TEXT", "L00", "L01", "L02", "R00"))


def test_a_file_in_the_folder_is_enough(folder: Path, tmp_path: Path) -> None:
    package = Path(loralathe.__file__).parent
    skipped = shutil.ignore_patterns("data", "__pycache__")
    shutil.copytree(package, tmp_path / "src" / "loralathe", ignore=skipped)
    shutil.copy(
        Path(__file__).with_name("toy_family.py"), tmp_path / "src" / "loralathe" / "families" / "toy.py"
    )
    command = [sys.executable, "-m", "loralathe.cli", "inspect", str(folder / "lora.safetensors")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "LoRA for Toy" in shown.stdout
