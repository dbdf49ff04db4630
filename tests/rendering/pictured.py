"""Pictures and latents of narrow models, as the renderer makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from checkpoints import write_safetensors
from loralathe.adapters import ModelFolders
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.latents import LatentRenderer, RenderSettings
from loralathe.rendering.loading import FileWeights, Model, PartFiles, open_model
from loralathe.rendering.model_cache import OpenModel
from loralathe.rendering.prepare import prepare
from loralathe.rendering.runtime import Presets
from loralathe.strengths import AdapterUse
from rendering.narrow import Tensors, by_map, merged, narrow_lora

PROMPT, SEED, SIDE, STEPS = "a portrait of Hina, blue hair", 7, 64, 3
Picture = np.ndarray[Any, Any]


def write_models(folder: Path, tensors: Tensors, matrices: str, strength: float = 0.5) -> None:
    """model.safetensors, a LoRA of the matrices whose keys fit, and what both merge to at a strength."""
    lora = narrow_lora(tensors, matrices)
    write_safetensors(folder / "model.safetensors", tensors)
    write_safetensors(folder / "hina.safetensors", lora)
    write_safetensors(folder / "merged.safetensors", merged(tensors, lora, strength))


def check_layers(model: Model, tensors: Tensors, name: str, divisor: int, prefix: str = "") -> None:
    """They are where diffusers' own converter puts them; divisor: of the narrow model's widths."""
    expected = by_map(tensors, f"map_{name}_transformer", prefix, divisor)
    ours = model.denoiser.state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in ours)


def check_lora(renderer: LocalRenderer, folder: Path, strength: float = 0.5, **more: Any) -> None:
    """At run time it is the merged checkpoint, in a batch with a strength for each picture."""
    plain, half, other = pictures(renderer, folder / "model.safetensors", 0, strength, -0.3, **more)
    (of_merged,) = pictures(renderer, folder / "merged.safetensors", 0, **more)
    (alone,) = pictures(renderer, folder / "model.safetensors", 0, **more)
    assert np.abs(half - of_merged).max() < 1.1 / 255
    assert np.abs(plain - alone).max() < 1.1 / 255
    assert np.abs(half - plain).max() > 10 / 255
    assert np.abs(other - half).max() > 10 / 255


def opened(path: Path, tokenizer: Path) -> Model:
    with FileWeights(path) as weights:
        return open_model(weights, torch.float32, files=PartFiles(tokenizer=tokenizer))


@contextmanager
def renderer_with(tokenizer: Path) -> Iterator[LocalRenderer]:
    with LocalRenderer("cpu", files=PartFiles(tokenizer=tokenizer), keep_models=2) as found:
        yield found


def request_for(checkpoint: Path, strength: float = 0.0, **more: Any) -> ImageRequest:
    """With the LoRA beside the checkpoint at this strength."""
    lora = str(checkpoint.parent / "hina.safetensors")
    uses = (AdapterUse(lora, te=strength, unet=strength),) if strength else ()
    given: dict[str, Any] = {
        "prompt": PROMPT, "seed": SEED, "steps": STEPS, "cfg": 1.0, "sampler": "Euler", "width": SIDE,
        "height": SIDE, "adapters": uses,
    }  # fmt: skip
    return ImageRequest(str(checkpoint), **(given | more))


def latents_of(model: Model, request: ImageRequest) -> torch.Tensor:
    """(channels, h, w), before the VAE."""
    settings = RenderSettings(torch.device("cpu"), Presets(), False, True)
    with torch.inference_mode():
        made = LatentRenderer(OpenModel(model), settings).latents([prepare(0, request, ModelFolders())])
    return made[0]


def pictures(renderer: LocalRenderer, checkpoint: Path, *strengths: float, **more: Any) -> list[Picture]:
    """Of one batch, with the LoRA beside the checkpoint at these strengths; numbers 0 … 1."""
    found: dict[int, Picture] = {}
    requests = [request_for(checkpoint, strength, **more) for strength in strengths]
    renderer.render(requests, lambda index, image: found.update({index: np.asarray(image) / 255.0}))
    return [found[number] for number in range(len(strengths))]


def start_noise(*shape: int) -> torch.Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(SEED))
