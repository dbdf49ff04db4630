"""The k-diffusion family of samplers: one pure function per published algorithm, in σ-space.

Every function takes
    denoise(x, sigma, step) -> estimate of the clean latents, shape of x; `step` counts sampler steps,
                               so a second evaluation in one step sees the same prompt and adapters
    x        start latents (batch, 4, h, w), already scaled to sigmas[0]
    sigmas   n + 1 levels from high to low, usually ending at 0
    noise()  the next standard normal tensor in x's shape; each image draws from its own generator
and returns the latents at sigmas[-1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch

Denoise: TypeAlias = Callable[[torch.Tensor, float, int], torch.Tensor]
Noise: TypeAlias = Callable[[], torch.Tensor]
Levels: TypeAlias = Sequence[float]
Solver: TypeAlias = Callable[[Denoise, torch.Tensor, Levels, Noise], torch.Tensor]


def slope(x: torch.Tensor, sigma: float, clean: torch.Tensor) -> torch.Tensor:
    """dx/dσ of the probability-flow ODE (Karras et al. 2022, equation 3)."""
    return (x - clean) / sigma


def ancestral(sigma: float, following: float) -> tuple[float, float]:
    """(σ_down, σ_up): step down to σ_down, then add noise of σ_up to arrive at `following`."""
    up = min(following, math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2))
    return math.sqrt(following**2 - up**2), up


def steps_of(sigmas: Levels) -> list[tuple[int, float, float]]:
    """(step, σ, next σ) of every step."""
    return [(i, sigmas[i], sigmas[i + 1]) for i in range(len(sigmas) - 1)]


def euler(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """Karras et al. 2022, Algorithm 2 without churn and without the correction."""
    for step, sigma, following in steps_of(sigmas):
        x = x + slope(x, sigma, denoise(x, sigma, step)) * (following - sigma)
    return x


def euler_ancestral(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """Euler steps to σ_down, then fresh noise of σ_up."""
    for step, sigma, following in steps_of(sigmas):
        down, up = ancestral(sigma, following)
        x = x + slope(x, sigma, denoise(x, sigma, step)) * (down - sigma)
        if up > 0:
            x = x + noise() * up
    return x


def heun(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """Karras et al. 2022, Algorithm 1 without churn: the mean of the slopes at both ends."""
    for step, sigma, following in steps_of(sigmas):
        first = slope(x, sigma, denoise(x, sigma, step))
        ahead = x + first * (following - sigma)
        if following > 0:
            second = slope(ahead, following, denoise(ahead, following, step))
            ahead = x + (first + second) / 2 * (following - sigma)
        x = ahead
    return x


def _midpoint(denoise: Denoise, x: torch.Tensor, step: int, sigma: float, target: float) -> torch.Tensor:
    """One step of DPM-Solver-2 (Lu et al. 2022): the slope at the geometric mean of both levels."""
    first = slope(x, sigma, denoise(x, sigma, step))
    if target == 0:
        return x + first * (target - sigma)
    middle = math.sqrt(sigma * target)
    halfway = x + first * (middle - sigma)
    return x + slope(halfway, middle, denoise(halfway, middle, step)) * (target - sigma)


def dpm2(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """DPM-Solver-2 (Lu et al. 2022) in σ-space."""
    for step, sigma, following in steps_of(sigmas):
        x = _midpoint(denoise, x, step, sigma, following)
    return x


def dpm2_ancestral(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """DPM-Solver-2 steps to σ_down, then fresh noise of σ_up."""
    for step, sigma, following in steps_of(sigmas):
        down, up = ancestral(sigma, following)
        x = _midpoint(denoise, x, step, sigma, down)
        if up > 0:
            x = x + noise() * up
    return x


def lms(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise, order: int = 4) -> torch.Tensor:
    """Linear multistep (Adams–Bashforth on uneven steps): the last slopes' polynomial, integrated."""
    slopes: list[torch.Tensor] = []
    for step, sigma, following in steps_of(sigmas):
        slopes = [slope(x, sigma, denoise(x, sigma, step)), *slopes][:order]
        nodes = [sigmas[step - back] for back in range(len(slopes))]
        for back, past in enumerate(slopes):
            x = x + past * lagrange_integral(nodes, back, sigma, following)
    return x


def lagrange_integral(nodes: Levels, index: int, begin: float, end: float) -> float:
    """∫ of the Lagrange basis polynomial that is 1 at nodes[index], 0 at the others, from begin to end."""
    others = [node for place, node in enumerate(nodes) if place != index]
    basis = np.polynomial.Polynomial.fromroots(others) if others else np.polynomial.Polynomial([1.0])
    whole = basis.integ()
    return float((whole(end) - whole(begin)) / basis(nodes[index]))


# DPM-Solver++ (Lu et al. 2022b) works in λ = −log σ: a step of h = λ_next − λ with a constant estimate D
# of the clean latents takes x to e^(−h)·x + (1 − e^(−h))·D.


def _toward(x: torch.Tensor, clean: torch.Tensor, sigma: float, target: float) -> torch.Tensor:
    ratio = target / sigma
    return ratio * x + (1 - ratio) * clean


def dpmpp_2s_ancestral(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """DPM-Solver++(2S) (Lu et al. 2022b, Algorithm 1, r = ½) to σ_down, then fresh noise of σ_up."""
    for step, sigma, following in steps_of(sigmas):
        down, up = ancestral(sigma, following)
        clean = denoise(x, sigma, step)
        if down > 0:
            middle = math.sqrt(sigma * down)
            clean = denoise(_toward(x, clean, sigma, middle), middle, step)
        x = _toward(x, clean, sigma, down)
        if up > 0:
            x = x + noise() * up
    return x


def dpmpp_2m(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022b, Algorithm 2)."""
    last: torch.Tensor | None = None
    for step, sigma, following in steps_of(sigmas):
        clean = denoise(x, sigma, step)
        blend = clean
        if last is not None and following > 0:
            ratio = math.log(sigmas[step - 1] / sigma) / math.log(sigma / following)
            blend = clean + (clean - last) / (2 * ratio)
        x = _toward(x, blend, sigma, following)
        last = clean
    return x


def dpmpp_2m_sde(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022b, section 5), midpoint form."""
    last: torch.Tensor | None = None
    for step, sigma, following in steps_of(sigmas):
        clean = denoise(x, sigma, step)
        if following == 0:
            x = clean
        else:
            h = math.log(sigma / following)
            decay = math.exp(-2 * h)
            x = decay * x + (1 - decay) * clean
            if last is not None:
                ratio = math.log(sigmas[step - 1] / sigma) / h
                x = x + (1 - decay) * (clean - last) / (2 * ratio)
            x = x + noise() * (following * math.sqrt(1 - decay))
        last = clean
    return x


def dpmpp_3m_sde(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """SDE-DPM-Solver++(3M): the same with a second difference of the estimates."""
    past: list[tuple[torch.Tensor, float]] = []  # (estimate, length of the step after it), newest first
    for step, sigma, following in steps_of(sigmas):
        clean = denoise(x, sigma, step)
        if following == 0:
            return clean
        h = math.log(sigma / following)
        decay = math.exp(-2 * h)
        x = decay * x + (1 - decay) * clean
        phi2 = -(1 - decay) / (2 * h) + 1
        if len(past) == 1:
            x = x + phi2 * (clean - past[0][0]) * (h / past[0][1])
        elif past:
            r0, r1 = past[0][1] / h, past[1][1] / h
            d0 = (clean - past[0][0]) / r0
            d1 = (past[0][0] - past[1][0]) / r1
            first = d0 + (d0 - d1) * r0 / (r0 + r1)
            second = (d0 - d1) / (r0 + r1)
            phi3 = phi2 / (2 * h) - 0.5
            x = x + phi2 * first - phi3 * second
        x = x + noise() * (following * math.sqrt(1 - decay))
        past = [(clean, h), *past][:2]
    return x


def dpmpp_sde(denoise: Denoise, x: torch.Tensor, sigmas: Levels, noise: Noise) -> torch.Tensor:
    """SDE-DPM-Solver++(2S), r = ½: two evaluations a step on one Brownian path.

    The path's increments over both halves of a step are independent; their sum is the increment of the
    whole step, so both evaluations see one path as with a Brownian tree, without building one.
    """
    for step, sigma, following in steps_of(sigmas):
        clean = denoise(x, sigma, step)
        if following == 0:
            return clean
        middle = math.sqrt(sigma * following)
        early = noise() * math.sqrt(sigma - middle)
        late = noise() * math.sqrt(middle - following)
        down, up = ancestral(sigma, middle)
        halfway = _toward(x, clean, sigma, down) + early / math.sqrt(sigma - middle) * up
        clean = denoise(halfway, middle, step)
        down, up = ancestral(sigma, following)
        x = _toward(x, clean, sigma, down) + (early + late) / math.sqrt(sigma - following) * up
    return x
