"""Pictures from a device that is only pretended: those of the processor, and nothing on the wrong side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL.Image import Image

from loralathe.rendering import ImageRequest, LocalRenderer
from pretended_gpu import DEVICE, Watch, pretended_gpu

Tensors = dict[str, torch.Tensor]
SAMPLERS = ["Euler a", "DPM++ SDE", "UniPC", "DDIM", "PLMS", "LCM"]
FEW = 3
"""Samplers of the quick test: noise at each step, a Brownian path, a system of equations."""


def drawn(renderer: LocalRenderer, requests: list[ImageRequest]) -> list[np.ndarray]:
    found: dict[int, Image] = {}
    renderer.render(requests, lambda index, image: found.update({index: image}))
    return [np.asarray(found[index]).astype(int) for index in range(len(requests))]


def requests_of(family: str, samplers: list[str]) -> list[ImageRequest]:
    """Adapters in all rows and some, with a core and without, emphasis, AND, schedules; samplers once."""
    base = ImageRequest("base", prompt="x", steps=3, width=64, height=64)
    prompts = [
        f"(x:1.3) <lora:{family}-linear:0.7>",
        f"x AND y :0.5 <lora:{family}-conv:0.4:0.8:lbw=IN04=0.3>",
        f"[x:y:2] <lora:{family}-tucker:0.5:stop=2>",
        "",
    ]
    mixed = [ImageRequest("base", prompt=prompt, steps=3, width=64, height=64) for prompt in prompts]
    each = [
        ImageRequest("base", prompt="x", steps=3, width=64, height=64, sampler=name, seed=4)
        for name in samplers
    ]
    return [base, *mixed, *each]


@pytest.mark.parametrize(
    ("family", "samplers"),
    [
        pytest.param("sd1", SAMPLERS[:FEW], marks=pytest.mark.slow),
        pytest.param("sdxl", [], marks=pytest.mark.slow),
        pytest.param("sd1", SAMPLERS[FEW:], marks=pytest.mark.slow),
    ],
    ids=["sd1", "sdxl", "more samplers"],
)
def test_pictures_are_the_processors(
    family: str, samplers: list[str], checkpoint_of: Callable[[str], Tensors], lora_folder: Path
) -> None:
    """On a device without float64, as Apple's are."""
    requests = requests_of(family, samplers)
    weights = {"base": checkpoint_of(family)}
    with LocalRenderer("cpu", weights=weights, lora_dirs=[lora_folder]) as renderer:
        expected = drawn(renderer, requests)
    with pretended_gpu(float64=False) as watch:
        found = from_there(
            watch, LocalRenderer(str(DEVICE), "fp32", [lora_folder], weights=weights), requests
        )
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 1


@pytest.mark.long
def test_low_vram(checkpoint_of: Callable[[str], Tensors]) -> None:
    """The networks come when they run, and the U-Net is away when the VAE runs."""
    requests = [ImageRequest("base", prompt="x", steps=2, width=64, height=64, seed=seed) for seed in (1, 2)]
    weights = {"base": checkpoint_of("sd1")}
    with LocalRenderer("cpu", weights=weights) as renderer:
        expected = drawn(renderer, requests)
    with pretended_gpu() as watch:
        renderer = LocalRenderer(str(DEVICE), "fp32", weights=weights, low_vram=True, batch_size=1)
        found = from_there(watch, renderer, requests)
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 1


def from_there(watch: Watch, renderer: LocalRenderer, requests: list[ImageRequest]) -> list[np.ndarray]:
    with renderer:
        found = drawn(renderer, requests)
    assert watch.operations > 1000
    return found
