"""A renderer that draws plain procedural pictures: equal requests give equal pictures, anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse


def use(file: str = "hina.safetensors", strength: float = 1.0, blocks: str | None = None) -> AdapterUse:
    return AdapterUse(file, strength, strength, blocks)


def request(**changes: object) -> ImageRequest:
    base = ImageRequest(
        checkpoint="baseA.safetensors",
        vae=None,
        prompt="1girl, smile, hat",
        negative="blurry",
        seed=7,
        steps=4,
        cfg=7.0,
        sampler="Euler a",
        schedule="Automatic",
        width=32,
        height=48,
        clip_skip=1,
        adapters=(use(),),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def picture(request: ImageRequest) -> Image.Image:
    """Smooth noise whose seed is a digest of the request."""
    digest = hashlib.sha256(repr(request).encode()).digest()
    coarse = np.random.default_rng(list(digest)).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((request.width, request.height), Image.Resampling.BICUBIC)
    image.info["parameters"] = f"{request.prompt}\nSteps: {request.steps}, Seed: {request.seed}"
    return image


def draw(_: object, requests: Sequence[ImageRequest], on_image: Callable[[int, Image.Image], None]) -> None:
    """In place of a renderer's `render`, for tests that look at commands and not at pictures."""
    for index, request in enumerate(requests):
        on_image(index, picture(replace(request, width=32, height=48)))


@dataclass
class FakeRenderer:
    """Counts what it renders; `stop_after` raises KeyboardInterrupt after that many pictures."""

    draw: Callable[[ImageRequest], Image.Image] = picture
    stop_after: int | None = None
    rendered: list[ImageRequest] = field(default_factory=list)

    def render(self, requests: Sequence[ImageRequest], on_image: Callable[[int, Image.Image], None]) -> None:
        for index, wanted in enumerate(requests):
            if self.stop_after is not None and len(self.rendered) >= self.stop_after:
                raise KeyboardInterrupt
            self.rendered.append(wanted)
            on_image(index, self.draw(wanted))
