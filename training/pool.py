"""Pools of drawn portraits: drawn once, kept on disk as bytes, described by their seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training.attributes import JUDGED, Portrait, sample_portrait
from training.drawing import SIZE, draw


@dataclass(frozen=True)
class Pool:
    """`count` portraits and their pictures, (count, 3, 128, 128) uint8."""

    portraits: tuple[Portrait, ...]
    pixels: npt.NDArray[np.uint8]

    def images(self, indices: list[int]) -> torch.Tensor:
        """Pictures as floats in -1..1, (n, 3, 128, 128)."""
        return to_floats(self.pixels[indices])

    def labels(self, indices: list[int]) -> torch.Tensor:
        """Answers to every question of JUDGED, (n, questions)."""
        return torch.tensor([[self.portraits[i].labels()[name] for name in JUDGED] for i in indices])


def to_floats(pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    """0..255 to -1..1, on the device in use."""
    return torch.from_numpy(pixels).to(torch.get_default_device()).float() / 127.5 - 1


def sample_portraits(
    seed: int, count: int, drawings: tuple[str, ...], *, extras: bool
) -> tuple[Portrait, ...]:
    """Portraits with every attribute uniform and independent; drawing styles take turns."""
    rng = random.Random(f"portraits/{seed}/{extras}")
    return tuple(sample_portrait(rng, drawings[i % len(drawings)], extras=extras) for i in range(count))


def draw_pixels(portraits: tuple[Portrait, ...]) -> npt.NDArray[np.uint8]:
    """(n, 3, 128, 128) uint8."""
    pixels = np.empty((len(portraits), 3, SIZE, SIZE), np.uint8)
    for i, portrait in enumerate(portraits):
        pixels[i] = np.asarray(draw(portrait)).transpose(2, 0, 1)
    return pixels


def open_pool(folder: Path, seed: int, count: int, drawings: tuple[str, ...], *, extras: bool) -> Pool:
    """The pool from `folder`, drawn first if it is not there."""
    portraits = sample_portraits(seed, count, drawings, extras=extras)
    path = folder / f"pool-{'-'.join(drawings)}{'-extras' if extras else ''}-{seed}-{count}.npy"
    if not path.exists():
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, draw_pixels(portraits))
        temporary.replace(path)
    return Pool(portraits, np.load(path, mmap_mode="r"))
