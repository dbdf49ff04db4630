"""Arguments of a method as plain tensors, cut into bands of any height."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from loralathe.language.method import Method


@dataclass(frozen=True)
class Spot:
    name: str = "unet.input_blocks.4.1.proj_in"
    block: str | None = "IN04"


class Held:
    """`Arguments` over arrays in memory."""

    def __init__(self, arrays: Sequence[np.ndarray], height: int, spot: Spot = Spot()) -> None:
        self.tensors = [torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays]
        self.height = height
        self.address = spot

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensors[0].shape)

    def ranges(self) -> Iterator[range]:
        total = self.shape[0]
        for start in range(0, total, self.height):
            yield range(start, min(start + self.height, total))

    def rows(self, start: int, stop: int) -> list[torch.Tensor]:
        return [tensor[start:stop].reshape(stop - start, -1).clone() for tensor in self.tensors]

    def bands(self) -> Iterator[list[torch.Tensor]]:
        for rows in self.ranges():
            yield self.rows(rows.start, rows.stop)


def result(
    method: Method, arrays: Sequence[np.ndarray], *, height: int = 1 << 20, spot: Spot = Spot()
) -> np.ndarray:
    """What a method makes of the arrays, band by band, as float64."""
    held = Held(arrays, height, spot)
    make = method.prepare(held)
    bands = []
    for rows in held.ranges():
        values = held.rows(rows.start, rows.stop) if method.by_rows else ()
        bands.append(make(values, rows).reshape(len(rows), *held.shape[1:]))
        assert bands[-1].dtype == torch.float32
    return torch.cat(bands).double().numpy()


def noise(seed: int, *shape: int, std: float = 1.0) -> np.ndarray:
    """Normal numbers as fp32 holds them, in float64."""
    return (np.random.default_rng(seed).standard_normal(shape) * std).astype(np.float32).astype(np.float64)
