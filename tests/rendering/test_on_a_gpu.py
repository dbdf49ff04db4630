"""Pictures from a GPU beside those of the processor; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image

from checkpoints import write_safetensors
from loralathe.engine import RunOptions, run_recipe
from loralathe.language import Save, make_recipe
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.strengths import AdapterUse

Tensors = dict[str, torch.Tensor]
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA or ROCm GPU; none is here"
)


def drawn(renderer: LocalRenderer, requests: list[ImageRequest]) -> np.ndarray:
    found: dict[int, Image] = {}
    renderer.render(requests, lambda index, image: found.update({index: image}))
    return np.stack([np.asarray(found[index]).astype(int) for index in range(len(requests))])


def requests_of(family: str, name: str = "base") -> list[ImageRequest]:
    common = {"steps": 4, "width": 64, "height": 64, "seed": 3}
    return [
        ImageRequest(name, prompt=prompt, sampler=sampler, **common)  # type: ignore[arg-type]
        for prompt in ("x", f"(x:1.3) AND y <lora:{family}-conv:0.5>")
        for sampler in ("Euler a", "DPM++ 2M", "UniPC", "LCM")
    ]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize(
    ("options", "apart"),
    [({"dtype": "fp32"}, 0.2), ({"dtype": "fp16"}, 2.0), ({"dtype": "fp32", "low_vram": True}, 0.2)],
    ids=["fp32", "fp16", "low VRAM"],
)
def test_pictures_are_close_to_the_processors(
    family: str,
    options: dict[str, Any],
    apart: float,
    checkpoint_of: Callable[[str], Tensors],
    lora_folder: Path,
) -> None:
    weights = {"base": checkpoint_of(family)}
    with LocalRenderer("cpu", lora_dirs=[lora_folder], weights=weights) as renderer:
        expected = drawn(renderer, requests_of(family))
    with LocalRenderer("cuda", lora_dirs=[lora_folder], weights=weights, **options) as renderer:
        found = drawn(renderer, requests_of(family))
        again = drawn(renderer, requests_of(family))
    assert np.abs(found - expected).mean() < apart
    assert np.array_equal(found, again)


def test_an_adapter_and_its_merged_model_give_one_picture(
    checkpoint_of: Callable[[str], Tensors], lora_folder: Path, tmp_path: Path
) -> None:
    base, merged, lora = (
        tmp_path / "A.safetensors",
        tmp_path / "M.safetensors",
        lora_folder / "sd1-linear.safetensors",
    )
    write_safetensors(base, checkpoint_of("sd1"))
    recipe = make_recipe(
        inputs={"A": base, "lora": lora}, steps={"M": "A + 0.8*lora"}, saves=[Save("M", merged, "fp32")]
    )
    run_recipe(recipe, RunOptions(hash_inputs=False))
    common = {"prompt": "x", "steps": 4, "width": 64, "height": 64}
    requests = [
        ImageRequest(str(base), adapters=(AdapterUse(str(lora), 0.8, 0.8),), **common),  # type: ignore[arg-type]
        ImageRequest(str(merged), **common),  # type: ignore[arg-type]
    ]
    with LocalRenderer("cuda", "fp32") as renderer:
        one, other = drawn(renderer, requests)
    assert np.abs(one - other).max() <= 1
