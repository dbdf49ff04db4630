"""Pictures as ComfyUI has them, (batch, height, width, 3) from 0 to 1, and as files and studies have them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image


def pixels_of(image: torch.Tensor) -> Any:
    """(height, width, 3) uint8 of one picture, each value cut as ComfyUI's Save Image cuts it."""
    values = 255.0 * image[..., :3].cpu().float().numpy()
    return np.clip(values, 0, 255).astype(np.uint8)


def image_of(pictures: Iterable[Any]) -> torch.Tensor:
    """A batch of pictures; smaller ones get a white margin on the right and below."""
    arrays = list(pictures)
    height, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    batch = np.full((len(arrays), height, width, 3), 255, np.uint8)
    for place, array in zip(batch, arrays, strict=True):
        place[: array.shape[0], : array.shape[1]] = array
    return torch.from_numpy(batch.astype(np.float32) / 255.0)


def read_image(path: Path) -> Any:
    """(height, width, 3) uint8 of a file."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
