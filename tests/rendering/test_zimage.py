"""Z-Image on narrow models: against diffusers' own pipeline of the same modules, with and without a LoRA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from loralathe.rendering import LocalRenderer
from loralathe.rendering.loading import Model
from rendering.narrow import VAE, ZIMAGE, Tensors, assembled, write_tokenizer
from rendering.pictured import (
    PROMPT,
    SIDE,
    STEPS,
    check_layers,
    check_lora,
    latents_of,
    opened,
    pictures,
    renderer_with,
    request_for,
    start_noise,
    write_models,
)  # fmt: skip

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "user", "assistant", "<unk>")
MATRICES = r"^model\..*(attention\.|feed_forward|adaLN|x_embedder|cap_embedder|t_embedder)"


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return assembled((*ZIMAGE, VAE))


@pytest.fixture(scope="module")
def folder(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("zimage")
    write_models(found, tensors, MATRICES)
    write_tokenizer(found, SPECIAL)
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return opened(folder / "model.safetensors", folder)


@pytest.fixture(scope="module")
def renderer(folder: Path) -> Iterator[LocalRenderer]:
    with renderer_with(folder) as found:
        yield found


def from_pipeline(model: Model, output: str, steps: int = STEPS) -> Any:
    """By diffusers' pipeline."""
    encoder = model.encoders[0]
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe: Any = diffusers.ZImagePipeline(scheduler, model.vae, encoder.network, None, model.denoiser)
    pipe.set_progress_bar_config(disable=True)
    assert encoder.tokenizer is not None
    text = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    ids = encoder.tokenizer.inner.encode(text, add_special_tokens=False).ids
    padded = torch.tensor([ids + [0] * (512 - len(ids))])
    mask = torch.tensor([[True] * len(ids) + [False] * (512 - len(ids))])
    with torch.inference_mode():
        states = encoder.network(
            input_ids=padded, attention_mask=mask, output_hidden_states=True
        ).hidden_states
        return pipe(
            prompt_embeds=[states[-2][0][mask[0]]], latents=start_noise(16, SIDE // 8, SIDE // 8),
            width=SIDE, height=SIDE, num_inference_steps=steps, guidance_scale=0.0, output_type=output,
            return_dict=False,
        )[0][0]  # fmt: skip


def test_layers_are_where_diffusers_own_converter_puts_them(model: Model, tensors: Tensors) -> None:
    check_layers(model, tensors, "zimage", 15, "model.diffusion_model.")


def test_latents_are_the_pipelines(model: Model, folder: Path) -> None:
    """At noise levels that fp32 holds exactly: the network reads a thousand times the level."""
    wanted = from_pipeline(model, "latent", 2)
    ours = latents_of(model, request_for(folder / "model.safetensors", steps=2))
    assert wanted.std() > 0.1
    assert (ours - wanted).abs().max() < 1e-4


def test_a_picture_is_the_pipelines(model: Model, renderer: LocalRenderer, folder: Path) -> None:
    wanted = from_pipeline(model, "np")
    (ours,) = pictures(renderer, folder / "model.safetensors", 0)
    assert wanted.std() > 0.05
    assert np.abs(ours - wanted).max() < 0.6 / 255


def test_a_lora_at_run_time_is_the_merged_checkpoint(renderer: LocalRenderer, folder: Path) -> None:
    """In layers that read the tokens of all pictures at once, too."""
    check_lora(renderer, folder)
