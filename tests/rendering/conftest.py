"""Small models that really render: true layouts, narrow and shallow, with CLIP's full vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.rendering import LocalRenderer

Tensors = dict[str, torch.Tensor]
LAYERS, DEPTH = 3, 2
"""Text-encoder layers and transformer blocks that are kept."""

_TEXT_LAYER = re.compile(r"(?:encoder[._]layers[._]|transformer\.resblocks\.)(\d+)[._]")
_BLOCK = re.compile(r"transformer_blocks[._](\d+)[._]")
VOCABULARY = 49408


def shallow(tensors: Tensors) -> Tensors:
    """Without the deeper layers of text encoders and transformers."""

    def kept(key: str) -> bool:
        text, block = _TEXT_LAYER.search(key), _BLOCK.search(key)
        return not (text and int(text[1]) >= LAYERS) and not (block and int(block[1]) >= DEPTH)

    return {key: tensor for key, tensor in tensors.items() if kept(key)}


def make_checkpoint(family: str, seed: int = 1, std: float = 0.08) -> Tensors:
    tensors = shallow(tiny_checkpoint(family, seed=seed, dtype="F32", std=std))
    tensors["model.diffusion_model.out.2.weight"] *= 0.2  # latents of about unit size, as trained models have
    for key, tensor in tensors.items():
        if key.endswith("token_embedding.weight"):
            generator = torch.Generator().manual_seed(seed)
            tensors[key] = torch.randn(VOCABULARY, tensor.shape[1], generator=generator) * 0.3
    return tensors


def make_lora(family: str, *, seed: int = 5, conv: bool = False, **more: object) -> Tensors:
    options = {"rank": 4, "alpha": 2.0, "std": 0.25, "dtype": "F32", **more}
    return shallow(tiny_lora(family, seed=seed, conv_rank=3 if conv else None, **options))  # type: ignore[arg-type]


def as_tucker(tensors: Tensors, rank: int = 3, seed: int = 9) -> Tensors:
    """Every k×k convolution of a LoCon with a core instead."""
    generator = torch.Generator().manual_seed(seed)
    found = dict(tensors)
    for key, down in tensors.items():
        if key.endswith(".lora_down.weight") and down.dim() == 4 and down.shape[-1] > 1:
            stem = key.removesuffix(".lora_down.weight")
            out, kernel = tensors[f"{stem}.lora_up.weight"].shape[0], down.shape[2:]
            found[key] = torch.randn(rank, down.shape[1], 1, 1, generator=generator) * 0.25
            found[f"{stem}.lora_mid.weight"] = torch.randn(rank, rank, *kernel, generator=generator) * 0.3
            found[f"{stem}.lora_up.weight"] = torch.randn(out, rank, 1, 1, generator=generator) * 0.25
    return found


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint_of() -> Callable[[str], Tensors]:
    """Family → the tensors of its small checkpoint, made once."""
    made: dict[str, Tensors] = {}

    def of(family: str) -> Tensors:
        if family not in made:
            made[family] = make_checkpoint(family)
        return made[family]

    return of


@pytest.fixture(scope="session")
def studio(checkpoint_of: Callable[[str], Tensors], lora_folder: Path) -> Iterator[LocalRenderer]:
    """A renderer with the small models `sd1` and `sdxl` in memory, left open between tests."""
    weights = {family: checkpoint_of(family) for family in ("sd1", "sdxl")}
    with LocalRenderer("cpu", weights=weights, lora_dirs=[lora_folder], keep_models=2) as renderer:
        yield renderer


@pytest.fixture(scope="session")
def lora_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRAs by name: `<family>-linear`, `-conv`, `-tucker`, `-other`."""
    folder = tmp_path_factory.mktemp("loras")
    for family in ("sd1", "sdxl"):
        conv = make_lora(family, conv=True)
        for name, tensors in {
            "linear": make_lora(family),
            "other": make_lora(family, seed=6),
            "conv": conv,
            "tucker": as_tucker(conv),
        }.items():
            write_safetensors(folder / f"{family}-{name}.safetensors", tensors)
    return folder
