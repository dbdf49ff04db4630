"""DDIM, PLMS, UniPC and LCM: samplers that live on whole training steps, run by diffusers' schedulers.

Settings follow A1111's: times 1, 1 + k, 1 + 2k … with k = 1000 // n, whatever schedule is asked for.
UniPC keeps diffusers' order 2 and B₂(h): A1111's order 3 with B₁(h) divides by zero on the step to σ = 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import torch

from loralathe.rendering.machine import library
from loralathe.rendering.samplers.levels import BETA_END, BETA_START, TRAIN_STEPS

if TYPE_CHECKING:
    from loralathe.rendering.samplers.a1111 import Prediction

Predict: TypeAlias = Callable[[torch.Tensor, float, int], torch.Tensor]
"""(scaled latents, time, sampler step) -> what the network was trained to predict."""


class Scheduler(Protocol):
    """The part of diffusers' schedulers used here."""

    timesteps: torch.Tensor
    init_noise_sigma: float

    def set_timesteps(self, num_inference_steps: int, **more: Any) -> None: ...
    def scale_model_input(self, sample: torch.Tensor, timestep: Any) -> torch.Tensor: ...
    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: Any) -> Any: ...
    def step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, **more: Any) -> Any: ...


def scheduler_for(name: str, prediction: Prediction, *, zero_terminal_snr: bool) -> Scheduler:
    """diffusers' scheduler behind one of A1111's timestep samplers."""
    diffusers = library("diffusers")
    common = {
        "num_train_timesteps": TRAIN_STEPS,
        "beta_start": BETA_START,
        "beta_end": BETA_END,
        "beta_schedule": "scaled_linear",
        "prediction_type": prediction,
        "steps_offset": 1,
    }
    if name == "DDIM":
        made = diffusers.DDIMScheduler(
            **common,
            clip_sample=False,
            set_alpha_to_one=False,
            rescale_betas_zero_snr=zero_terminal_snr,
            timestep_spacing="trailing" if zero_terminal_snr else "leading",
        )
    elif name == "PLMS":
        made = diffusers.PNDMScheduler(**common, skip_prk_steps=True, set_alpha_to_one=False)
    elif name == "UniPC":
        made = diffusers.UniPCMultistepScheduler(
            **common,
            rescale_betas_zero_snr=zero_terminal_snr,
            timestep_spacing="trailing" if zero_terminal_snr else "leading",
        )
    elif name == "LCM":
        made = diffusers.LCMScheduler(
            **{**common, "steps_offset": 0},
            set_alpha_to_one=True,
            rescale_betas_zero_snr=zero_terminal_snr,
        )
    else:
        raise ValueError(f"{name} is not a timestep sampler")
    return cast("Scheduler", made)


def run_scheduler(
    scheduler: Scheduler,
    predict: Predict,
    noise: torch.Tensor,
    steps: int,
    generators: Sequence[torch.Generator],
) -> torch.Tensor:
    """Latents from `noise` (batch, 4, h, w); image i draws any later noise from generators[i]."""
    scheduler.set_timesteps(steps)
    x = noise * scheduler.init_noise_sigma
    extra = len(scheduler.timesteps) - steps  # PLMS evaluates its first step twice
    return _walk(scheduler, predict, x, list(scheduler.timesteps), extra, generators)


def run_from(
    scheduler: Scheduler,
    predict: Predict,
    latents: torch.Tensor,
    noise: torch.Tensor,
    steps: tuple[int, int],
    generators: Sequence[torch.Generator],
) -> torch.Tensor:
    """The last steps[0] of steps[1] steps, from clean `latents` (batch, 4, h, w) with that much noise."""
    last, whole = steps
    _set_times(scheduler, min(whole, TRAIN_STEPS))
    twice = len(scheduler.timesteps) - len(set(scheduler.timesteps.tolist()))
    times = sorted(set(scheduler.timesteps.tolist()), reverse=True)[-last:]
    walked = scheduler.timesteps.new_tensor([times[0], *times[1 : 1 + twice], *times[1:]])
    x = scheduler.add_noise(latents, noise, walked[:1])
    return _walk(scheduler, predict, x, list(walked), min(twice, len(times) - 1), generators)


def _set_times(scheduler: Scheduler, steps: int) -> None:
    """LCM knows 50 training steps unless it is told to take more."""
    known = inspect.signature(scheduler.set_timesteps).parameters
    more = {"original_inference_steps": max(steps, 50)} if "original_inference_steps" in known else {}
    scheduler.set_timesteps(steps, **more)


def _walk(
    scheduler: Scheduler,
    predict: Predict,
    x: torch.Tensor,
    times: Sequence[torch.Tensor],
    extra: int,
    generators: Sequence[torch.Generator],
) -> torch.Tensor:
    """Step through `times`; the first `extra` evaluations are of the first step."""
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    more = {"generator": list(generators)} if takes_generator else {}
    for evaluation, time in enumerate(times):
        out = predict(scheduler.scale_model_input(x, time), float(time), max(evaluation - extra, 0))
        x = scheduler.step(out, time, x, **more, return_dict=False)[0]
    return x
