"""A world whose truth is known: pictures of one colour that say how alike, how much bleed, how true to the
prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from loralathe.families import family_by_id
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse, resolve
from loralathe.studies.context import Context
from loralathe.studies.scorers import Scored
from loralathe.studies.tuning.budget import Budget
from loralathe.studies.tuning.goals import goals_of
from loralathe.studies.tuning.options import TuneOptions
from studies.fakes import FakeRenderer

CONTEXT = Context(family=family_by_id("sdxl"))
SWEEPS = ("hina unet = 0, 0.4, 0.8, 1.2", "hina te = 0, 0.4, 0.8, 1.2", "hina MID = 0, 0.5, 1")


def truth(request: ImageRequest) -> tuple[float, float]:
    """(likeness, prompt) of a picture: best at unet 0.8, te 0.4, MID 0.5; without the trigger word what
    bleeds.
    """
    if not request.adapters:
        return 0.1, 0.9
    use = request.adapters[0]
    resolve(use, CONTEXT.family)
    mid = float(use.blocks.split("=")[-1]) if use.blocks else 1.0
    off = abs(use.unet - 0.8) + abs(use.te - 0.4) + abs(mid - 0.5)
    if "hina" in request.prompt:
        return 0.9 - 0.4 * off, 0.8 - 0.1 * off
    return 0.1 + 0.2 * use.te, 0.8


def draw(request: ImageRequest) -> Image.Image:
    """Colour = truth + what the seed does to all + a little of its own."""
    digest = hashlib.sha256(repr(request).encode()).digest()
    own = np.random.default_rng(list(digest)).normal(0, 0.02, 2)
    shared = np.random.default_rng(request.seed).normal(0, 0.05, 2)
    likeness, prompt = np.clip(np.array(truth(request)) + own + shared, 0, 1)
    colour = (round(255 * float(likeness)), round(255 * float(prompt)), 0)
    return Image.new("RGB", (request.width, request.height), colour)


@dataclass(frozen=True)
class Channel:
    """A scorer that reads a colour."""

    name: str
    at: int

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        return [item.image.getpixel((0, 0))[self.at] / 255 for item in items]


SCORERS = (Channel("is hina", 0), Channel("prompt", 1))


def renderer(stop_after: int | None = None) -> FakeRenderer:
    return FakeRenderer(draw, stop_after)


def options(folder: Path, pictures: int = 200, **changes: object) -> TuneOptions:
    request = ImageRequest(
        checkpoint="baseA.safetensors",
        prompt="hina, a girl, smiling",
        seed=5,
        width=16,
        height=16,
        adapters=(AdapterUse("hina.safetensors"),),
    )
    found = TuneOptions(
        request,
        folder,
        SWEEPS,
        goals_of((), scorers=SCORERS, plain=True),
        Budget(pictures=pictures),
        triggers=("hina",),
        context=CONTEXT,
    )
    return replace(found, **changes)  # type: ignore[arg-type]
