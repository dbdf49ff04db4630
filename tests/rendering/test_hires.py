"""Hires fix: what a request says, the rule of its steps, every upscaler and sampler, and its infotext."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch

from loralathe.errors import InputError
from loralathe.rendering import UPSCALERS, Hires, LocalRenderer
from loralathe.rendering.hires import whole_steps
from loralathe.rendering.infotext import CHUNK, infotext, read_infotext
from loralathe.rendering.prompts import plan_prompt
from loralathe.rendering.request import Pass
from loralathe.rendering.samplers import SAMPLERS, NoiseLevels, sigmas_for
from loralathe.rendering.samplers.timestepped import run_from, scheduler_for
from loralathe.rendering.sampling import SeededNoise, Start, sample
from loralathe.rendering.upscaling import enlarge
from rendering.test_renderer import BASE, drawn

if TYPE_CHECKING:
    from loralathe.rendering.guidance import GuidedNetwork

HIRES = Hires(2, "Latent", steps=2, denoising=0.5)
TODAY = {
    "version", "checkpoint", "vae", "prompt", "negative", "seed", "steps", "cfg", "sampler", "schedule",
    "width", "height", "clip_skip", "adapters",
}  # fmt: skip


def test_keys_of_pictures_without_it_stay() -> None:
    assert BASE.to_json().keys() == TODAY
    assert BASE.key() == "d527b5669afb2432cbc877b0a83534325dbf9ff9b57edaabc313942b94364a21"
    assert replace(BASE, hires=HIRES).to_json()["hires"] == {
        "scale": 2.0, "upscaler": "Latent", "steps": 2, "denoising": 0.5,
    }  # fmt: skip


def test_two_passes() -> None:
    request = replace(BASE, width=104, hires=Hires(1.5, "lanczos"))
    assert request.passes == (Pass(2, 104, 64), Pass(2, 152, 96))
    assert (request.size, request.all_steps) == ((152, 96), 4)
    assert request.hires == Hires(1.5, "Lanczos")
    assert BASE.size == (64, 64)


@pytest.mark.parametrize(
    "wrong",
    [{"scale": 0.5}, {"scale": float("nan")}, {"denoising": 1.5}, {"steps": -1}, {"upscaler": "ESRGAN"},
     {"scale": 200}, {"denoising": 0.0001}],
)  # fmt: skip
def test_numbers_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(BASE, hires=replace(HIRES, **wrong))


def test_the_rule_of_the_steps() -> None:
    assert [whole_steps(20, d) for d in (0.5, 0.7, 1.0)] == [40, 28, 20]


def test_prompts_of_the_second_pass() -> None:
    def texts(prompt: str) -> tuple[str, ...]:
        return plan_prompt(prompt, 4, after=4).parts[0].texts

    assert texts("[a:b:3]") == texts("[a:b:0.5]") == ("b",) * 4
    assert texts("[a:b:6]") == texts("[a:b:1.5]") == ("a", "a", "b", "b")
    assert texts("[a|b]") == ("a", "b", "a", "b")


def test_infotext_in_the_order_of_a1111() -> None:
    request = replace(BASE, hires=Hires(1.5, "Latent (nearest)", 7, 0.4), clip_skip=2, vae="v.safetensors")
    names = list(read_infotext(infotext(request)).entries)
    assert names[names.index("VAE") :] == [
        "VAE", "Denoising strength", "Clip skip", "RNG", "Hires upscale", "Hires steps", "Hires upscaler",
        "Rendered by",
    ]  # fmt: skip
    entries = read_infotext(infotext(request)).entries
    assert [entries[n] for n in names if n.startswith("Hires")] == ["1.5", "7", "Latent (nearest)"]
    assert "Hires steps" not in infotext(replace(BASE, hires=Hires(2)))


class Blocks:
    """A VAE whose pictures are the first three latents, each as 8 × 8 pixels."""

    dtype = torch.float32
    config = SimpleNamespace(scaling_factor=0.5, shift_factor=None)

    def decode(self, latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        return (torch.nn.functional.interpolate(latents[:, :3], scale_factor=8.0),)

    def encode(self, pixels: torch.Tensor) -> SimpleNamespace:
        small = torch.nn.functional.avg_pool2d(pixels, 8)
        mean = torch.cat([small, torch.zeros_like(small[:, :1])], dim=1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: mean))


def test_every_upscaler() -> None:
    latents = torch.rand((2, 4, 4, 6), generator=torch.Generator().manual_seed(1)) - 0.5
    large = {name: enlarge(Blocks(), latents, name, (96, 64), pytest.fail) for name in UPSCALERS}
    assert {tuple(found.shape) for found in large.values()} == {(2, 4, 8, 12)}
    twice = latents.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(large["Latent (nearest)"], twice)
    assert torch.allclose(large["Nearest"][:, :3], twice[:, :3], atol=0.01)  # 8 bits a colour
    assert torch.equal(large["None"], large["Lanczos"])
    assert not torch.equal(large["Latent (bicubic)"], large["Latent"])


def test_a_picture_depends_on_no_batch(studio: LocalRenderer) -> None:
    small = replace(BASE, width=32, height=32, sampler="Euler a")
    requests = [replace(small, seed=seed, hires=HIRES) for seed in (1, 2)]
    together = drawn(studio, [*requests, small])
    assert [image.size for image in together.values()].count((64, 64)) == 2
    alone = np.asarray(drawn(studio, requests[1:])[0], dtype=np.int16)
    assert np.abs(alone - np.asarray(together[1])).max() <= 2
    assert "Denoising strength: 0.5" in together[1].info[CHUNK]


@pytest.mark.parametrize("name", ["Euler", "DPM++ 2M", "DPM2"])
def test_the_second_pass_takes_the_last_steps_of_a_longer_schedule(name: str) -> None:
    """A network that knows the clean picture is asked at those levels, and leads back to it."""
    levels = NoiseLevels.of(())
    model: Any = SimpleNamespace(
        pictures=SimpleNamespace(aligned=(), flow=False), prediction="epsilon", zero_terminal_snr=False
    )
    clean = torch.full((1, 4, 8, 8), 0.5)
    asked: list[float] = []

    def network(scaled: torch.Tensor, time: float, step: int) -> torch.Tensor:
        sigma = float(levels.sigma_of(np.array(time)))
        asked.append(sigma)
        return (scaled * (1 + sigma**2) ** 0.5 - clean) / sigma

    noise, known = SeededNoise([1], (4, 8, 8), torch.device("cpu")), cast("GuidedNetwork", network)
    start = Start(clean, 0.5)
    made = sample(model, known, noise, sampler=name, schedule="Karras", steps=6, start=start)
    assert torch.allclose(made, clean, atol=1e-3)
    whole = sigmas_for(SAMPLERS[name], "Karras", 12, levels)
    assert asked[0] == pytest.approx(whole[-7], rel=1e-3)


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.solver is None])
def test_timestep_samplers_come_back_to_the_picture(name: str) -> None:
    """A network that always knows the clean picture leads back to it."""
    scheduler: Any = scheduler_for(name, "epsilon", zero_terminal_snr=False)
    clean = torch.full((1, 4, 8, 8), 0.5)
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    seen: list[int] = []

    def predict(x: torch.Tensor, time: float, step: int) -> torch.Tensor:
        seen.append(step)
        signal = scheduler.alphas_cumprod[int(time)]
        return (x - signal.sqrt() * clean) / (1 - signal).sqrt()

    made = run_from(scheduler, predict, clean, noise, (6, 20), [torch.Generator().manual_seed(2)])
    assert torch.allclose(made, clean, atol=0.1)
    assert sorted(set(seen)) == list(range(6))
