"""Transformers with little memory: blocks come to the device one by one, and pictures stay the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from loralathe.rendering import LocalRenderer, model_cache
from loralathe.rendering.loading import PartFiles
from pretended_gpu import DEVICE, There, pretended_gpu
from rendering.narrow import FLUX, KLEIN, KLEIN_VAE, SD3, VAE, ZIMAGE, Part, assembled, write_tokenizer
from rendering.pictured import pictures, write_models

SPECIAL = (
    "<pad>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "user", "assistant", "think", "<unk>",
)  # fmt: skip
MODELS: dict[str, tuple[Part, ...]] = {
    "flux": (*FLUX, VAE),
    "sd3": SD3,
    "zimage": (*ZIMAGE, VAE),
    "klein": (*KLEIN, KLEIN_VAE),
}
MATRICES = r"^model\..*(blocks|layers|refiner)"


@pytest.fixture(scope="module", params=[pytest.param(one, marks=[] if one == "flux" else pytest.mark.slow)
                                        for one in MODELS])  # fmt: skip
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp(request.param)
    tensors = assembled(MODELS[request.param])
    if request.param == "klein":
        tensors["vae.bn.running_mean"], tensors["vae.bn.running_var"] = torch.zeros(128), torch.ones(128)
    write_models(found, tensors, MATRICES)
    write_tokenizer(found, SPECIAL)
    return found


def drawn(folder: Path, device: str, *, low_vram: bool) -> list[np.ndarray[Any, Any]]:
    """Without and with a LoRA in one batch."""
    files = PartFiles(tokenizer=folder)
    with LocalRenderer(device, "fp32", files=files, low_vram=low_vram) as renderer:
        return pictures(renderer, folder / "model.safetensors", 0, 0.5, steps=2)


def test_on_the_processor_pictures_are_equal(folder: Path) -> None:
    plain, low = (drawn(folder, "cpu", low_vram=one) for one in (False, True))
    assert all(np.array_equal(one, other) for one, other in zip(plain, low, strict=True))


def test_the_device_holds_one_block(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every network, when a layer of a block runs; none when the VAE does."""
    expected = drawn(folder, "cpu", low_vram=False)
    most: list[int] = []

    def watch(network: torch.nn.Module) -> None:
        rows = [name for name, one in network.named_modules() if isinstance(one, torch.nn.ModuleList)]
        outer = [name for name in rows if not any(name.startswith(f"{other}.") for other in rows)]
        each = [block for name in outer for block in network.get_submodule(name).children()]
        blocks = [block for block in each if len(list(block.parameters())) > 4]

        def count(*_: Any) -> None:
            there = [any(isinstance(p.data, There) for p in block.parameters()) for block in blocks]
            most.append(sum(there))

        for block in blocks:
            layers = [one for one in block.modules() if isinstance(one, torch.nn.Linear)]
            layers[0].register_forward_hook(count)

    placed = model_cache.place

    def place(model: Any, device: torch.device, *, low_vram: bool) -> None:
        placed(model, device, low_vram=low_vram)
        for network in (*(encoder.network for encoder in model.encoders), model.denoiser):
            watch(network)

    monkeypatch.setattr(model_cache, "place", place)
    monkeypatch.setattr(torch, DEVICE.type, SimpleNamespace(), raising=False)  # diffusers asks for one
    with pretended_gpu():
        found = drawn(folder, str(DEVICE), low_vram=True)
    assert max(most) == 1
    assert len(most) > 8
    assert all(np.abs(one - other).max() <= 1.1 / 255 for one, other in zip(found, expected, strict=True))
