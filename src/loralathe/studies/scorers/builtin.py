"""Scorers that compare with the reference picture and need no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL.Image import Image

from loralathe.studies.metrics import (
    SSIM_WINDOW,
    changed_percentage,
    hamming,
    perceptual_hash,
    pixels_of,
    ssim,
)
from loralathe.studies.scorers.protocol import Better, Scored


def _against_reference(
    items: Sequence[Scored], measure: Callable[[Image, Image], float | None]
) -> list[float | None]:
    return [
        measure(item.image, item.reference)
        if item.reference is not None and item.reference.size == item.image.size
        else None
        for item in items
    ]


@dataclass(frozen=True)
class PixelDifference:
    """Percentage of channel values that differ by more than `threshold` (LoRA Block Weight's count)."""

    threshold: int = 20
    name: str = "diff %"
    better: Better = "neither"

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        return _against_reference(
            items, lambda a, b: changed_percentage(pixels_of(a), pixels_of(b), self.threshold)
        )


@dataclass(frozen=True)
class Similarity:
    """SSIM, 1 for equal pictures; None for pictures smaller than its window."""

    name: str = "SSIM"
    better: Better = "neither"

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        return _against_reference(items, _ssim)


def _ssim(a: Image, b: Image) -> float | None:
    return ssim(pixels_of(a), pixels_of(b)) if min(a.size) >= SSIM_WINDOW else None


@dataclass(frozen=True)
class HashDistance:
    """Different bits of 64 between perceptual hashes; the sizes may differ."""

    name: str = "pHash"
    better: Better = "neither"

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        return [
            None
            if item.reference is None
            else float(hamming(perceptual_hash(item.image), perceptual_hash(item.reference)))
            for item in items
        ]
