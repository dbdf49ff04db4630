"""Flux.2 Klein on narrow models: against diffusers' own pipeline of the same modules, and with a LoRA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from loralathe.rendering import LocalRenderer
from loralathe.rendering.latent_space import for_decoder
from loralathe.rendering.loading import Model
from rendering.narrow import KLEIN, KLEIN_VAE, Tensors, assembled, write_tokenizer
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

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "user", "assistant", "think", "<unk>")
MATRICES = r"^model\..*(blocks|modulation|img_in|txt_in|time_in|final_layer)"


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    """The VAE as it was released: two layers inside its halves, statistics beside them."""
    found = assembled((*KLEIN, KLEIN_VAE))
    generator = torch.Generator().manual_seed(3)
    for name, width in (("encoder.quant_conv", 64), ("decoder.post_quant_conv", 32)):
        found[f"vae.{name}.weight"] = torch.eye(width)[..., None, None]
        found[f"vae.{name}.bias"] = torch.zeros(width)
    found["vae.bn.running_mean"] = torch.randn(128, generator=generator) * 0.1
    found["vae.bn.running_var"] = torch.rand(128, generator=generator) + 0.5
    found["vae.bn.num_batches_tracked"] = torch.tensor(1)
    return found


@pytest.fixture(scope="module")
def folder(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("klein")
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


def from_pipeline(model: Model, output: str) -> Any:
    """By diffusers' pipeline."""
    encoder = model.encoders[0]
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe: Any = diffusers.Flux2KleinPipeline(
        scheduler, model.vae, encoder.network, None, model.denoiser, is_distilled=True
    )
    pipe.set_progress_bar_config(disable=True)
    assert encoder.tokenizer is not None
    text = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    ids = encoder.tokenizer.inner.encode(text, add_special_tokens=False).ids
    rest = 512 - len(ids)
    padded, mask = torch.tensor([ids + [0] * rest]), torch.tensor([[1] * len(ids) + [0] * rest])
    with torch.inference_mode():
        out = encoder.network(input_ids=padded, attention_mask=mask, output_hidden_states=True)
        states = torch.stack([out.hidden_states[number] for number in (9, 18, 27)], dim=1)
        return pipe(
            prompt_embeds=states.permute(0, 2, 1, 3).flatten(2),
            latents=start_noise(128, SIDE // 16, SIDE // 16), width=SIDE, height=SIDE,
            num_inference_steps=STEPS, guidance_scale=1.0, output_type=output, return_dict=False,
        )[0][0]  # fmt: skip


def test_layers_are_where_diffusers_own_converter_puts_them(model: Model, tensors: Tensors) -> None:
    check_layers(model, tensors, "klein4b", 24, "model.diffusion_model.")


def test_latents_are_the_pipelines(model: Model, folder: Path) -> None:
    wanted = from_pipeline(model, "latent")
    ours = latents_of(model, request_for(folder / "model.safetensors"))
    assert wanted.std() > 0.1
    assert (for_decoder(model.vae, ours[None])[0] - wanted).abs().max() < 1e-4


def test_a_picture_is_the_pipelines(model: Model, renderer: LocalRenderer, folder: Path) -> None:
    wanted = from_pipeline(model, "np")
    (ours,) = pictures(renderer, folder / "model.safetensors", 0)
    assert wanted.std() > 0.05
    assert np.abs(ours - wanted).max() < 0.6 / 255


def test_a_lora_at_run_time_is_the_merged_checkpoint(renderer: LocalRenderer, folder: Path) -> None:
    check_lora(renderer, folder)
