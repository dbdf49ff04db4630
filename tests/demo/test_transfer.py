"""On the tiny family: a LoRA on a deeper base is itself again, and the score ranks bases as pictures do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import loralathe
from demo.conftest import PACKAGED
from loralathe.demo import family_scorers
from loralathe.demo.family import find_family, unpack_family
from loralathe.studies import Scored

pytestmark = pytest.mark.slow
PROMPT = "hina, portrait of a girl"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    unpack_family(folder, find_family(PACKAGED))
    return folder


def load(path: Path) -> tuple[Tensors, dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def perturbed(tensors: Tensors, share: float) -> Tensors:
    generator = torch.Generator().manual_seed(2)
    made = {}
    for key, tensor in tensors.items():
        made[key] = tensor
        if key.startswith("model.diffusion_model.") and tensor.ndim > 1:
            wide = tensor.float()
            noise = torch.randn(wide.shape, generator=generator)
            made[key] = (wide + share * wide.std() * noise).to(tensor.dtype)
    return made


def doubled(tensors: Tensors) -> Tensors:
    """A block before every transformer block: its copy, which writes nothing yet."""
    made = {}
    for key, tensor in tensors.items():
        found = re.fullmatch(r"(.*transformer_blocks\.)0(\..*)", key)
        if found is None:
            made[key] = tensor
            continue
        silent = re.search(r"to_out\.0|ff\.net\.2", found[2]) is not None
        made[f"{found[1]}0{found[2]}"] = torch.zeros_like(tensor) if silent else tensor.clone()
        made[f"{found[1]}1{found[2]}"] = tensor
    return made


def likeness(base: Path, lora: Path, out: Path) -> float:
    pictures = loralathe.render(base, f"{lora}:1", prompt=PROMPT, count=6, seed=1, steps=12, output=out)
    scores = family_scorers(PACKAGED)[0].score([Scored(Image.open(one), None, PROMPT) for one in pictures])
    return sum(score for score in scores if score is not None) / len(pictures)


def test_map_and_likeness_come_back(family: Path, tmp_path: Path) -> None:
    tensors, metadata = load(family / "baseA.safetensors")
    deep = tmp_path / "deep.safetensors"
    save_file(perturbed(doubled(tensors), 0.05), deep, metadata)
    lora = family / "hina.safetensors"
    made = loralathe.transfer(lora, family / "baseA.safetensors", deep, output=tmp_path / "moved.safetensors")
    moving = [stack for stack in made.fitting.stacks if stack.moves]
    assert moving
    assert all([one.source for one in stack.origins] == [0, 0] for stack in moving)
    assert made.file is not None
    before = likeness(family / "baseA.safetensors", lora, tmp_path / "a")
    assert likeness(deep, made.file, tmp_path / "b") > before - 0.05
    assert likeness(deep, lora, tmp_path / "c") < before - 0.1


def test_the_score_ranks_bases_as_likeness_does(family: Path, tmp_path: Path) -> None:
    a, metadata = load(family / "baseA.safetensors")
    b, _ = load(family / "baseB.safetensors")
    half = {key: ((one.float() + b[key].float()) / 2).to(one.dtype) if one.is_floating_point() else one
            for key, one in a.items()}  # fmt: skip
    lora = family / "hina.safetensors"
    scores, found = [], []
    for number, tensors in enumerate([a, half, perturbed(a, 0.4), b, perturbed(b, 0.3)]):
        base = tmp_path / f"base{number}.safetensors"
        save_file(tensors, base, metadata)
        scores.append(loralathe.fitting(lora, family / "baseA.safetensors", base).total.shared)
        found.append(likeness(base, lora, tmp_path / f"out{number}"))
    assert scores == sorted(scores, key=float, reverse=True)
    assert found == sorted(found, reverse=True)
