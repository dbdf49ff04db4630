"""Order statistics of a whole tensor from bands of it: exact, in two passes and constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

Bands = Callable[[], Iterable[Sequence[torch.Tensor]]]
"""Starts a pass over the bands of some tensors of equal size, fp32 and contiguous."""

HALF = 1 << 16


def kth_largest_magnitudes(bands: Bands, ranks: Sequence[Sequence[int]]) -> list[list[float]]:
    """|x| at the given ranks (1: the largest) of each tensor; equal values count as often as they occur.

    Radix selection on the bits of fp32, which order non-negative numbers as integers do: a histogram of
    the upper halves finds the bucket of each rank, one of the lower halves the value in it.
    """
    upper = [np.zeros(HALF >> 1, np.int64) for _ in ranks]
    for values in bands():
        for index, value in enumerate(values):
            upper[index] += _counts(_bits(value) >> 16, HALF >> 1)
    found = [[_place(counts, rank) for rank in wanted] for counts, wanted in zip(upper, ranks, strict=True)]
    lower = [{bucket: np.zeros(HALF, np.int64) for bucket, _ in places} for places in found]
    for values in bands():
        for held, value in zip(lower, values, strict=True):
            bits = _bits(value)
            for bucket in held:
                held[bucket] += _counts(bits[(bits >> 16) == bucket] & (HALF - 1), HALF)
    return [
        [_number(bucket, _place(held[bucket], rank)[0]) for bucket, rank in places]
        for places, held in zip(found, lower, strict=True)
    ]


def _bits(value: torch.Tensor) -> torch.Tensor:
    return value.reshape(-1).view(torch.int32) & 0x7FFFFFFF


def _counts(indices: torch.Tensor, size: int) -> np.ndarray:
    counts: np.ndarray = torch.bincount(indices, minlength=size).numpy()
    return counts


def _place(counts: np.ndarray, rank: int) -> tuple[int, int]:
    """The bucket that holds the rank-th largest, and its rank within that bucket."""
    from_top = np.cumsum(counts[::-1])
    index = int(np.searchsorted(from_top, rank))
    before = int(from_top[index - 1]) if index else 0
    return len(counts) - 1 - index, rank - before


def _number(bucket: int, low: int) -> float:
    return float(np.array([bucket << 16 | low], np.uint32).view(np.float32)[0])
