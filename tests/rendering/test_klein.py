"""Flux.2 Klein on narrow models: against diffusers' own pipeline of the same modules, and with a LoRA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from checkpoints import write_safetensors
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.loading import FileWeights, Model, PartFiles, open_model
from loralathe.strengths import AdapterUse
from rendering.narrow import (
    KLEIN,
    KLEIN_VAE,
    Tensors,
    assembled,
    by_map,
    merged,
    narrow_lora,
    write_tokenizer,
)

PROMPT, SEED, SIDE, STEPS = "a portrait of Hina, blue hair", 7, 64, 3
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
    write_safetensors(found / "klein.safetensors", tensors)
    write_tokenizer(found, SPECIAL)
    lora = narrow_lora(tensors, MATRICES)
    write_safetensors(found / "hina.safetensors", lora)
    write_safetensors(found / "merged.safetensors", merged(tensors, lora, 0.5))
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    with FileWeights(folder / "klein.safetensors") as weights:
        return open_model(weights, torch.float32, files=PartFiles(tokenizer=folder))


@pytest.fixture(scope="module")
def renderer(folder: Path) -> Iterator[LocalRenderer]:
    with LocalRenderer("cpu", files=PartFiles(tokenizer=folder), keep_models=2) as found:
        yield found


def pipeline_picture(model: Model) -> np.ndarray[Any, Any]:
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
        noise = torch.randn(1, 128, SIDE // 16, SIDE // 16, generator=torch.Generator().manual_seed(SEED))
        images = pipe(
            prompt_embeds=states.permute(0, 2, 1, 3).flatten(2), latents=noise, width=SIDE, height=SIDE,
            num_inference_steps=STEPS, guidance_scale=1.0, output_type="np", return_dict=False,
        )[0]  # fmt: skip
    return np.asarray(images[0])


def pictures(renderer: LocalRenderer, checkpoint: Path, *strengths: float) -> list[np.ndarray[Any, Any]]:
    """Of one batch, with the LoRA at these strengths."""
    found: dict[int, np.ndarray[Any, Any]] = {}
    lora = str(checkpoint.parent / "hina.safetensors")
    requests = [
        ImageRequest(
            str(checkpoint), prompt=PROMPT, seed=SEED, steps=STEPS, cfg=1, sampler="Euler", width=SIDE,
            height=SIDE, adapters=(AdapterUse(lora, te=one, unet=one),) if one else (),
        )
        for one in strengths
    ]  # fmt: skip
    renderer.render(requests, lambda index, image: found.update({index: np.asarray(image) / 255.0}))
    return [found[number] for number in range(len(strengths))]


def test_layers_are_where_diffusers_own_converter_puts_them(model: Model, tensors: Tensors) -> None:
    expected = by_map(tensors, "map_klein4b_transformer", "model.diffusion_model.", 24)
    ours = model.denoiser.state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in ours)


def test_a_picture_is_the_pipelines(model: Model, renderer: LocalRenderer, folder: Path) -> None:
    theirs = pipeline_picture(model)
    (ours,) = pictures(renderer, folder / "klein.safetensors", 0)
    assert theirs.std() > 0.05
    assert np.abs(ours - theirs).max() < 0.6 / 255


def test_a_lora_at_run_time_is_the_merged_checkpoint(renderer: LocalRenderer, folder: Path) -> None:
    """In a batch with a strength for each picture, and in layers that read the tokens of all at once, too."""
    plain, half, other = pictures(renderer, folder / "klein.safetensors", 0, 0.5, -0.3)
    (of_merged,) = pictures(renderer, folder / "merged.safetensors", 0)
    (alone,) = pictures(renderer, folder / "klein.safetensors", 0)
    assert np.abs(half - of_merged).max() < 1.1 / 255
    assert np.abs(plain - alone).max() < 1.1 / 255
    assert np.abs(half - plain).max() > 10 / 255
    assert np.abs(other - half).max() > 10 / 255
