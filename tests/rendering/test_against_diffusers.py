"""Latents against diffusers' own pipelines: same networks, texts encoded by hand, same start noise."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import pytest
import torch

from loralathe.adapters import ModelFolders
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.clip_tokens import encode_text
from loralathe.rendering.latents import LatentRenderer, RenderSettings
from loralathe.rendering.loading import MemoryWeights, Model, open_model
from loralathe.rendering.model_cache import OpenModel
from loralathe.rendering.prepare import prepare
from loralathe.rendering.runtime import Presets

PROMPT, NEGATIVE = "a portrait of Hina, blue hair", "blurry, bad hands"
SEED, CFG, SIDE = 7, 5.0, 64


@dataclass
class Drawn:
    """A model and what draws with it."""

    model: Model
    latent_renderer: LatentRenderer

    def latents(self, **request: Any) -> torch.Tensor:
        fields = {"prompt": PROMPT, "negative": NEGATIVE, "seed": SEED, "cfg": CFG, **request}
        asked = ImageRequest(checkpoint="m", width=SIDE, height=SIDE, **fields)
        with torch.inference_mode():
            return self.latent_renderer.latents([prepare(0, asked, ModelFolders())])[0]


@pytest.fixture(scope="module")
def drawn(checkpoint_of: Callable[[str], dict[str, torch.Tensor]]) -> Callable[..., Drawn]:
    made: dict[tuple[str, str | None], Drawn] = {}

    def of(family: str, prediction: str | None = None) -> Drawn:
        if (family, prediction) not in made:
            weights = MemoryWeights("m", checkpoint_of(family), {})
            model = open_model(weights, torch.float32, prediction=prediction)  # type: ignore[arg-type]
            settings = RenderSettings(torch.device("cpu"), Presets(), False, True)
            made[family, prediction] = Drawn(model, LatentRenderer(OpenModel(model), settings))
        return made[family, prediction]

    return of


def start_noise() -> torch.Tensor:
    return torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(SEED))


def later_generator() -> torch.Generator:
    """The image's generator after its start noise was drawn."""
    generator = torch.Generator().manual_seed(SEED)
    torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=generator)
    return generator


def row(text: str, pad: int) -> torch.Tensor:
    ids = [49406, *encode_text(text), 49407]
    return torch.tensor([ids + [pad] * (77 - len(ids))])


def embeddings(model: Model, text: str) -> dict[str, torch.Tensor]:
    """By the families' published recipes, straight from transformers."""
    networks = [encoder.network for encoder in model.encoders]
    with torch.inference_mode():
        if model.family.id != "sdxl":
            pad = 49407 if model.family.id == "sd1" else 0
            return {"prompt_embeds": networks[0](row(text, pad)).last_hidden_state}
        first = networks[0](row(text, 49407), output_hidden_states=True)
        second = networks[1](row(text, 0), output_hidden_states=True)
        both = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return {"prompt_embeds": both, "pooled_prompt_embeds": second.text_embeds}


def pipeline_latents(model: Model, scheduler: Any, steps: int, start: torch.Tensor) -> torch.Tensor:
    networks = [encoder.network for encoder in model.encoders]
    if model.family.id == "sdxl":
        pipe: Any = diffusers.StableDiffusionXLPipeline(
            model.vae, networks[0], networks[1], None, None, model.denoiser, scheduler, add_watermarker=False
        )
    else:
        pipe = diffusers.StableDiffusionPipeline(
            model.vae, networks[0], None, model.denoiser, scheduler, None, None, requires_safety_checker=False
        )
    pipe.set_progress_bar_config(disable=True)
    negative = {f"negative_{key}": value for key, value in embeddings(model, NEGATIVE).items()}
    more = (
        {"generator": later_generator()}
        if "generator" in inspect.signature(scheduler.step).parameters
        else {}
    )
    latents = pipe(
        **embeddings(model, PROMPT),
        **negative,
        **more,
        latents=start,
        width=SIDE,
        height=SIDE,
        num_inference_steps=steps,
        guidance_scale=CFG,
        output_type="latent",
        return_dict=False,
    )[0]
    return latents[0]


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def unrounded(kind: type) -> type:
    """The scheduler with the exact times of its levels, as A1111 has them; some round to whole times."""

    class Unrounded(kind):  # type: ignore[misc]
        def set_timesteps(self, *args: Any, **more: Any) -> None:
            super().set_timesteps(*args, **more)
            levels = ((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5
            times = [float(self._sigma_to_t(s, levels.log().numpy())) for s in self.sigmas[:-1].numpy()]
            self.timesteps = torch.tensor(times, dtype=torch.float64)

        def index_for_timestep(self, timestep: Any, *args: Any, **more: Any) -> int:
            return int((self.timesteps - timestep).abs().argmin())

    return Unrounded


def highest() -> float:
    signal = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).double() ** 2, 0)[-1].item()
    return math.sqrt((1 - signal) / signal)


# (sampler, schedule, steps, scheduler, whether it lives in the variance-preserving scale)
CASES = {
    "Euler": ("Euler", "Automatic", 4, lambda p: diffusers.EulerDiscreteScheduler(**BETAS, **p), False),
    "Euler Karras": (
        "Euler", "Karras", 5,
        lambda p: diffusers.EulerDiscreteScheduler(**BETAS, **p, use_karras_sigmas=True), False,
    ),
    "Euler Exponential": (
        "Euler", "Exponential", 4,
        lambda p: diffusers.EulerDiscreteScheduler(**BETAS, **p, use_exponential_sigmas=True), False,
    ),
    "Euler a": (
        "Euler a", "Automatic", 4, lambda p: diffusers.EulerAncestralDiscreteScheduler(**BETAS, **p), False,
    ),
    "Heun": (
        "Heun", "Karras", 4,
        lambda p: diffusers.HeunDiscreteScheduler(**BETAS, **p, use_karras_sigmas=True), False,
    ),
    "LMS": (
        "LMS", "Karras", 6, lambda p: diffusers.LMSDiscreteScheduler(**BETAS, **p, use_karras_sigmas=True),
        False,
    ),
    "DPM++ 2M": (
        "DPM++ 2M", "Automatic", 5,
        lambda p: unrounded(diffusers.DPMSolverMultistepScheduler)(
            **BETAS, **p, use_karras_sigmas=True
        ),
        True,
    ),
    "DPM++ 2M SDE": (
        "DPM++ 2M SDE", "Automatic", 4,
        lambda p: unrounded(diffusers.DPMSolverMultistepScheduler)(
            **BETAS, **p, algorithm_type="sde-dpmsolver++", use_exponential_sigmas=True
        ),
        True,
    ),
    "DDIM": (
        "DDIM", "Automatic", 4,
        lambda p: diffusers.DDIMScheduler(
            **BETAS, **p, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
        None,
    ),
    "PLMS": (
        "PLMS", "Automatic", 5,
        lambda p: diffusers.PNDMScheduler(**BETAS, **p, skip_prk_steps=True, steps_offset=1), None,
    ),
    "UniPC": (
        "UniPC", "Automatic", 4,
        lambda p: diffusers.UniPCMultistepScheduler(
            **BETAS, **p, steps_offset=1, timestep_spacing="leading"
        ),
        None,
    ),
    "LCM": ("LCM", "Automatic", 4, lambda p: diffusers.LCMScheduler(**BETAS, **p), None),
}  # fmt: skip


def check(drawn: Drawn, name: str, prediction: str = "epsilon") -> None:
    sampler, schedule, steps, make, variance_preserving = CASES[name]
    start = start_noise()
    if variance_preserving:  # A1111 starts at noise·σ; in the scale where signal and noise sum up to 1:
        start = start * (highest() / math.sqrt(1 + highest() ** 2))
    elif variance_preserving is False and sampler != "Euler a":
        scheduler = make({"prediction_type": prediction})
        scheduler.set_timesteps(steps)
        start = start * (highest() / float(scheduler.init_noise_sigma))
    theirs = pipeline_latents(drawn.model, make({"prediction_type": prediction}), steps, start)
    ours = drawn.latents(sampler=sampler, schedule=schedule, steps=steps)
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-4


SLOW = ("Euler Exponential", "Euler Karras", "PLMS", "LMS")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES]
)
def test_sd1_equals_the_pipeline(drawn: Callable[..., Drawn], name: str) -> None:
    check(drawn("sd1"), name)


@pytest.mark.parametrize("name", ["Euler", "Euler a", "DPM++ 2M", "DDIM"])
def test_sdxl_equals_the_pipeline(drawn: Callable[..., Drawn], name: str) -> None:
    check(drawn("sdxl"), name)


@pytest.mark.parametrize("name", ["Euler Karras", "DPM++ 2M", "DDIM", "UniPC"])
def test_v_prediction_equals_the_pipeline(drawn: Callable[..., Drawn], name: str) -> None:
    check(drawn("sd2", "v_prediction"), name, "v_prediction")


def test_images_of_the_renderer_are_the_pipelines(
    drawn: Callable[..., Drawn], checkpoint_of: Callable[[str], dict[str, torch.Tensor]]
) -> None:
    model = drawn("sd1").model
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS)
    latents = pipeline_latents(model, scheduler, 3, start_noise())
    with torch.inference_mode():
        decoded = model.vae.decode(latents[None] / 0.18215, return_dict=False)[0]
    expected = diffusers.image_processor.VaeImageProcessor().postprocess(decoded, output_type="np")[0]
    request = ImageRequest(
        "m",
        prompt=PROMPT,
        negative=NEGATIVE,
        seed=SEED,
        cfg=CFG,
        steps=3,
        sampler="Euler",
        width=64,
        height=64,
    )
    found = {}
    with LocalRenderer(weights={"m": checkpoint_of("sd1")}) as renderer:
        renderer.render([request], lambda index, image: found.update({index: image.copy()}))
    import numpy as np

    assert np.abs(np.asarray(found[0]) / 255.0 - expected).max() < 0.6 / 255
