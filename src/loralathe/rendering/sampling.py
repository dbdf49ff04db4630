"""Latents of a batch: start noise, sampler, guided network, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from loralathe.rendering.guidance import GuidedNetwork
from loralathe.rendering.hires import whole_steps
from loralathe.rendering.loading import Model
from loralathe.rendering.samplers import SAMPLERS, NoiseLevels, Sampler, sigmas_for
from loralathe.rendering.samplers.flow import flow_levels
from loralathe.rendering.samplers.timestepped import run_from, run_scheduler, scheduler_for

OnStep = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Start:
    """What a second pass starts from: clean latents (batch, 4, h, w), and how much is made anew."""

    latents: torch.Tensor
    denoising: float


class SeededNoise:
    """Normal noise on the CPU, one generator per image: a picture depends on neither batch nor device.

    The numbers are those of A1111 with "Random number generator source: CPU".
    """

    def __init__(self, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device) -> None:
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._shape = shape
        self._device = device

    def __call__(self) -> torch.Tensor:
        """The next noise of every image: (batch, channels, h, w), float32."""
        drawn = [torch.randn(self._shape, generator=generator) for generator in self.generators]
        return torch.stack(drawn).to(self._device)


def latent_shape(model: Model, width: int, height: int) -> tuple[int, int, int]:
    """(channels, h, w) of the latents of a picture."""
    return model.kind.latent_shape(model.denoiser, width, height)


def sample(
    model: Model,
    network: GuidedNetwork,
    noise: SeededNoise,
    *,
    sampler: str,
    schedule: str,
    steps: int,
    start: Start | None = None,
    on_step: OnStep = lambda: None,
) -> torch.Tensor:
    """Latents (batch, 4, h, w) in float32. `sampler` and `schedule` by their canonical names.

    With a `start` these are the last `steps` steps of a longer schedule (A1111's rule).
    """
    whole = steps if start is None else whole_steps(steps, start.denoising)
    chosen = SAMPLERS[sampler]
    if model.pictures.flow:
        return _along_flow(model, network, noise, chosen, (steps, whole), start, on_step)
    if chosen.solver is None:
        scheduler = scheduler_for(sampler, model.prediction, zero_terminal_snr=model.zero_terminal_snr)
        predict = _telling_steps(network, on_step)
        if start is None:
            return run_scheduler(scheduler, predict, noise(), steps, noise.generators)
        return run_from(scheduler, predict, start.latents, noise(), (steps, whole), noise.generators)
    levels = NoiseLevels.of(model.pictures.aligned, zero_terminal_snr=model.zero_terminal_snr)
    sigmas = sigmas_for(chosen, schedule, whole, levels)[-(steps + 1) :]
    predict = _telling_steps(network, on_step)
    denoise = clean_estimate(predict, levels, v=model.prediction == "v_prediction")
    noisy = noise() * sigmas[0] if start is None else start.latents + noise() * sigmas[0]
    return chosen.solver(denoise, noisy, sigmas, noise)


def _along_flow(
    model: Model,
    network: GuidedNetwork,
    noise: SeededNoise,
    sampler: Sampler,
    steps: tuple[int, int],
    start: Start | None,
    on_step: OnStep,
) -> torch.Tensor:
    """The last steps[0] of steps[1] steps of a model that predicts flow; see `samplers.flow`."""
    last, whole = steps
    predict = _telling_steps(network, on_step)
    levels = flow_levels(model.usual, whole, network.patches(model.pictures.multiple))[-(last + 1) :]

    def denoise(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        return x - predict(x, sigma, step) * sigma

    noisy = noise() * levels[0]
    if start is not None:
        noisy = noisy + start.latents * (1 - levels[0])
    assert sampler.solver is not None
    return sampler.solver(denoise, noisy, levels, noise)


Predict = Callable[[torch.Tensor, float, int], torch.Tensor]


def clean_estimate(predict: Predict, levels: NoiseLevels, *, v: bool) -> Predict:
    """(x, σ, step) → estimate of the clean latents, from a network trained on ε or on v at whole times.

    x = x₀ + σε is scaled by c = 1/√(1 + σ²) to unit variance before the network sees it.
    ε: x₀ = x − σ·ε.  v (Salimans & Ho 2022): x₀ = c²·x − c·σ·v.
    """

    def estimate(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        scale = (sigma**2 + 1.0) ** -0.5
        out = predict(x * scale, levels.time_of(sigma), step)
        return x * scale**2 - out * (scale * sigma) if v else x - out * sigma

    return estimate


def _telling_steps(network: GuidedNetwork, on_step: OnStep) -> Predict:
    """The network, telling once about every sampler step it enters."""
    last = -1

    def predict(latents: torch.Tensor, time: float, step: int) -> torch.Tensor:
        nonlocal last
        out = network(latents, time, step)
        if step != last:
            last = step
            on_step()
        return out

    return predict
