"""Z-Image on narrow models: against diffusers' own pipeline of the same modules, with and without a LoRA."""

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
from rendering.narrow import VAE, ZIMAGE, Tensors, assembled, by_map, merged, narrow_lora, write_tokenizer

PROMPT, SEED, SIDE, STEPS = "a portrait of Hina, blue hair", 7, 64, 3
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "user", "assistant", "<unk>")
MATRICES = r"^model\..*(attention\.|feed_forward|adaLN|x_embedder|cap_embedder|t_embedder)"


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return assembled((*ZIMAGE, VAE))


@pytest.fixture(scope="module")
def folder(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("zimage")
    write_safetensors(found / "zimage.safetensors", tensors)
    write_tokenizer(found, SPECIAL)
    lora = narrow_lora(tensors, MATRICES)
    write_safetensors(found / "hina.safetensors", lora)
    write_safetensors(found / "merged.safetensors", merged(tensors, lora, 0.5))
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    with FileWeights(folder / "zimage.safetensors") as weights:
        return open_model(weights, torch.float32, files=PartFiles(tokenizer=folder))


@pytest.fixture(scope="module")
def renderer(folder: Path) -> Iterator[LocalRenderer]:
    with LocalRenderer("cpu", files=PartFiles(tokenizer=folder), keep_models=2) as found:
        yield found


def pipeline_picture(model: Model) -> np.ndarray[Any, Any]:
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
        noise = torch.randn(1, 16, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(SEED))
        images = pipe(
            prompt_embeds=[states[-2][0][mask[0]]], latents=noise, width=SIDE, height=SIDE,
            num_inference_steps=STEPS, guidance_scale=0.0, output_type="np", return_dict=False,
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
    expected = by_map(tensors, "map_zimage_transformer", "model.diffusion_model.", 15)
    ours = model.denoiser.state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in ours)


def test_a_picture_is_the_pipelines(model: Model, renderer: LocalRenderer, folder: Path) -> None:
    theirs = pipeline_picture(model)
    (ours,) = pictures(renderer, folder / "zimage.safetensors", 0)
    assert theirs.std() > 0.05
    assert np.abs(ours - theirs).max() < 0.6 / 255


def test_a_lora_at_run_time_is_the_merged_checkpoint(renderer: LocalRenderer, folder: Path) -> None:
    """In a batch with a strength for each picture, and in layers that read the tokens of all at once, too."""
    plain, half, other = pictures(renderer, folder / "zimage.safetensors", 0, 0.5, -0.3)
    (of_merged,) = pictures(renderer, folder / "merged.safetensors", 0)
    (alone,) = pictures(renderer, folder / "zimage.safetensors", 0)
    assert np.abs(half - of_merged).max() < 1.1 / 255
    assert np.abs(plain - alone).max() < 1.1 / 255
    assert np.abs(half - plain).max() > 10 / 255
    assert np.abs(other - half).max() > 10 / 255
