"""The file that `lathe merge` writes, drawn by diffusers' pipelines: text, latents and picture are ours.

`tests/rendering` compares samplers on our own networks; here the pipeline reads the file and the prompt
itself, so single-file loading, text encoders and merged weights are judged, too.
"""

from __future__ import annotations

import math
from typing import Any

import diffusers
import pytest
import torch

from promise.conftest import REQUEST, Atelier
from promise.pipelines import BETAS, pipeline_of_file

PROMPT, NEGATIVE, STEPS = "a portrait of Hina, blue hair", "blurry, bad hands", 3
ITEMS = "te=0.4:unet=0.7:lbw=IN01=0.5,IN04=0.3,MID=-0.3,OUT05=0,BASE=0.5"
SAMPLERS = {
    "Euler": lambda: diffusers.EulerDiscreteScheduler(**BETAS),
    "DDIM": lambda: diffusers.DDIMScheduler(
        **BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1
    ),
    "UniPC": lambda: diffusers.UniPCMultistepScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
}
HIGHEST = math.sqrt(1 / float(diffusers.DDIMScheduler(**BETAS).alphas_cumprod[-1]) - 1)
"""σ of the noisiest level."""


def pipeline_latents(pipe: Any, sampler: str) -> torch.Tensor:
    """(4, h, w) from the seed of REQUEST; samplers in σ-space start at noise·σ here, as A1111 does."""
    pipe.scheduler = SAMPLERS[sampler]()
    shape = (1, 4, REQUEST.height // 8, REQUEST.width // 8)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(REQUEST.seed))
    if sampler == "Euler":
        pipe.scheduler.set_timesteps(STEPS)
        start = start * (HIGHEST / float(pipe.scheduler.init_noise_sigma))
    latents: torch.Tensor = pipe(
        PROMPT,
        negative_prompt=NEGATIVE,
        latents=start,
        width=REQUEST.width,
        height=REQUEST.height,
        num_inference_steps=STEPS,
        guidance_scale=REQUEST.cfg,
        output_type="latent",
        return_dict=False,
    )[0]
    return latents[0]


pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")
SLOW = [("sd1", "DDIM"), ("sdxl", "UniPC"), ("sdxl", "DDIM"), ("sd1", "Euler")]


@pytest.mark.parametrize(
    ("family", "sampler"),
    [
        pytest.param(f, s, marks=pytest.mark.slow if (f, s) in SLOW else ())
        for f in ("sd1", "sdxl")
        for s in SAMPLERS
    ],
)
@pytest.mark.long
def test_diffusers_draws_the_merge_as_we_do(atelier: Atelier, family: str, sampler: str) -> None:
    name = f"{family}-conv"
    kept = atelier.merged(family, f"{name}:{ITEMS}")
    pipe = pipeline_of_file(family, kept, atelier.folder / f"configs-{family}")
    theirs = pipeline_latents(pipe, sampler)
    more = {"negative": NEGATIVE, "steps": STEPS, "sampler": sampler}
    ours = atelier.latents(kept, PROMPT, **more)
    shown = atelier.latents(atelier.base(family), f"{PROMPT}<lora:{name}:{ITEMS}>", **more)
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-4
    assert (shown - theirs).abs().max() <= 1e-3
