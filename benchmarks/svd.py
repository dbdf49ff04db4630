"""The baseline of extraction: thin SVDs of the same modules, one of each shape times their number."""

from __future__ import annotations

import time
from collections import Counter
from math import prod
from pathlib import Path

import torch

from loralathe.families import detect_checkpoint
from loralathe.tensorfiles import read_header


def module_shapes(path: Path) -> Counter[tuple[int, int]]:
    """(out, in) of every module that an extraction decomposes, with their number."""
    header = read_header(path)
    found: Counter[tuple[int, int]] = Counter()
    for module in detect_checkpoint(header, str(path)).family.modules(header.tensors).values():
        if module.scope == "linear":
            out, *rest = header.tensors[module.key].shape
            found[out // (module.part or (0, 1))[1], prod(rest)] += 1
    return found


def svd_seconds(shapes: Counter[tuple[int, int]], threads: int) -> float:
    """Seconds of `torch.linalg.svd` over all modules, on `threads` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.linalg.svd(torch.randn(64, 64), full_matrices=False)  # the library loads itself once
        return sum(count * _one(shape) for shape, count in shapes.items())
    finally:
        torch.set_num_threads(before)


def _one(shape: tuple[int, int]) -> float:
    A = torch.randn(shape)
    start = time.perf_counter()
    torch.linalg.svd(A, full_matrices=False)
    return time.perf_counter() - start


def least_operations(shapes: Counter[tuple[int, int]], rank: int) -> float:
    """Two products of each delta with `rank` columns: a range finder's first step and its projection."""
    return float(sum(4 * m * n * rank * count for (m, n), count in shapes.items()))
