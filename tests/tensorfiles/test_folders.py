"""Models in several files: which files are read, that they are read as one, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from loralathe.errors import InputError
from loralathe.tensorfiles import (
    CheckpointWriter,
    TensorSpec,
    content_hash,
    holds_model,
    model_files,
    open_tensorfile,
    read_header,
)

ONE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([7, 8])}
TWO = {"c": torch.arange(4).half()}
STEM = "diffusion_pytorch_model"


def shards(folder: Path, *parts: dict[str, torch.Tensor], index: bool = True, variant: str = "") -> Path:
    """The folder of a network in shards, as diffusers writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    for number, part in enumerate(parts, 1):
        name = f"{STEM}{variant}-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(part, folder / name)
        places |= dict.fromkeys(part, name)
    if index:
        text = json.dumps({"metadata": {"total_size": 1}, "weight_map": places})
        (folder / f"{STEM}.safetensors.index{variant}.json").write_text(text)
    return folder


@pytest.mark.parametrize("index", [True, False])
def test_shards_are_one_file(tmp_path: Path, index: bool) -> None:
    folder = shards(tmp_path / "net", ONE, TWO, index=index)
    ways = [folder, folder / f"{STEM}.safetensors.index.json"] if index else [folder]
    for path in ways:
        with open_tensorfile(path) as file:
            assert file.path == path
            assert file.header.tensors.keys() == {"a", "b", "c"}
            assert all(torch.equal(file.read(name), tensor) for name, tensor in (ONE | TWO).items())
            some = bytearray(8)
            file.readinto(file.info("a"), memoryview(some), 12)
            assert bytes(some) == ONE["a"].numpy().tobytes()[12:20]
            assert file.header.file_size == sum(one.stat().st_size for one in file.files)


def test_tensors_are_copied_from_the_shard_that_has_them(tmp_path: Path) -> None:
    folder = shards(tmp_path / "net", ONE, TWO)
    specs = [TensorSpec("c", "F16", (4,)), TensorSpec("a", "F32", (2, 3))]
    with (
        open_tensorfile(folder) as file,
        CheckpointWriter(tmp_path / "out.safetensors", specs, {}) as writer,
    ):
        for spec in specs:
            writer.copy_from(spec.name, file, spec.name)
        writer.commit()
    with open_tensorfile(tmp_path / "out.safetensors") as made:
        assert torch.equal(made.read("c"), TWO["c"])
        assert torch.equal(made.read("a"), ONE["a"])


def test_a_pipeline_is_its_networks(tmp_path: Path) -> None:
    shards(tmp_path / "unet", ONE, TWO)
    (tmp_path / "vae").mkdir()
    save_file(ONE, tmp_path / "vae" / f"{STEM}.safetensors")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    assert read_header(tmp_path).tensors.keys() == {"unet.a", "unet.b", "unet.c", "vae.a", "vae.b"}
    (tmp_path / "model_index.json").unlink()
    for name in ("unet", "vae"):
        (tmp_path / name / "config.json").write_text("{}")
    assert "unet.c" in read_header(tmp_path).tensors


def test_the_plain_files_go_before_variants_and_pickles(tmp_path: Path) -> None:
    def read() -> list[str]:
        return [file.name for file in model_files(tmp_path)]

    (tmp_path / "config.json").write_text("{}")
    torch.save(ONE, tmp_path / f"{STEM}.bin")
    assert read() == [f"{STEM}.bin"]
    save_file(ONE, tmp_path / f"{STEM}.non_ema.safetensors")
    assert read() == [f"{STEM}.non_ema.safetensors"]
    save_file(ONE, tmp_path / f"{STEM}.fp16.safetensors")
    assert read() == [f"{STEM}.fp16.safetensors"]
    save_file(ONE, tmp_path / f"{STEM}.safetensors")
    assert read() == [f"{STEM}.safetensors"]
    shards(tmp_path, ONE, TWO, variant=".fp16")
    assert read() == [f"{STEM}.safetensors"]
    shards(tmp_path, ONE, TWO)
    assert read() == [f"{STEM}-0000{number}-of-00002.safetensors" for number in (1, 2)]


def test_a_folder_of_models_is_no_model(tmp_path: Path) -> None:
    for name in ("model", "hina"):
        save_file(ONE, tmp_path / f"{name}.safetensors")
    assert not holds_model(tmp_path)
    with pytest.raises(InputError, match="a folder, not a file"):
        open_tensorfile(tmp_path)


def test_a_folder_of_peft_is_its_adapter(tmp_path: Path) -> None:
    save_file(ONE, tmp_path / "adapter_model.safetensors")
    with open_tensorfile(tmp_path) as file:
        assert file.path == tmp_path / "adapter_model.safetensors"


def test_the_hash_of_a_folder_is_that_of_its_hashes(tmp_path: Path) -> None:
    folder = shards(tmp_path / "net", ONE, TWO)
    lines = ""
    for file in sorted(folder.glob("*.safetensors")):
        lines += f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
    assert content_hash(folder) == hashlib.sha256(lines.encode()).hexdigest()
    assert content_hash(folder / f"{STEM}.safetensors.index.json") == content_hash(folder)


INDEX = f"{STEM}.safetensors.index.json"


def lose_a_shard(folder: Path) -> None:
    (folder / f"{STEM}-00002-of-00002.safetensors").unlink()


def lose_index_and_shard(folder: Path) -> None:
    lose_a_shard(folder)
    (folder / INDEX).unlink()


def promise_more(folder: Path) -> None:
    found = json.loads((folder / INDEX).read_text())
    found["weight_map"]["more"] = f"{STEM}-00001-of-00002.safetensors"
    (folder / INDEX).write_text(json.dumps(found))


def hold_twice(folder: Path) -> None:
    save_file(TWO | {"a": ONE["a"]}, folder / f"{STEM}-00002-of-00002.safetensors")


def lead_out(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))


def no_map(folder: Path) -> None:
    (folder / INDEX).write_text('{"weight_map": ["a"]}')


def empty_map(folder: Path) -> None:
    (folder / INDEX).write_text('{"weight_map": {}}')


def two_variants(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    for name in ("ema_only", "non_ema"):
        save_file(ONE, folder / f"{STEM}.{name}.safetensors")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lose_a_shard, "a shard is missing"),
        (lose_index_and_shard, "00002-of-00002"),
        (promise_more, "a tensor that its shard does not hold"),
        (hold_twice, "two shards hold one tensor"),
        (lead_out, "outside of its folder"),
        (no_map, "no weight_map"),
        (empty_map, "names 0 files"),
        (two_variants, "several variants of one"),
    ],
)
def test_what_is_refused(tmp_path: Path, damage, says: str) -> None:
    folder = shards(tmp_path / "net", ONE, TWO)
    damage(folder)
    with pytest.raises(InputError) as caught:
        open_tensorfile(folder)
    assert says in str(caught.value)
    assert "net" in str(caught.value.where)
    assert caught.value.fix
