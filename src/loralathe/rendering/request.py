"""What to render, as data: frozen, hashable, JSON-able."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class AdapterUse:
    file: str
    te: float
    unet: float
    blocks: str | None
    elements: str | None
    start: int | None
    stop: int | None


@dataclass(frozen=True)
class ImageRequest:
    checkpoint: str
    vae: str | None
    prompt: str
    negative: str
    seed: int
    steps: int
    cfg: float
    sampler: str
    schedule: str
    width: int
    height: int
    clip_skip: int
    adapters: tuple[AdapterUse, ...]


class Renderer(Protocol):
    def render(self, requests: Sequence[ImageRequest], on_image: Callable[[int, Image], None]) -> None: ...
