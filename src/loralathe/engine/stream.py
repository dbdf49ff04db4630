"""Weights of a file a piece at a time, on all cores, for those who only look: norms and comparisons."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import torch
from torch import Tensor

from loralathe.engine.workspace import ByteBudget
from loralathe.progress import Task
from loralathe.tensorfiles import DTYPES, TensorFile, TensorInfo, to_torch_dtype

PIECE = 1 << 19
"""Elements read at once: 2 MiB in fp32."""

MEMORY = 1 << 30
"""Bytes that all threads together may take for matrices."""

T = TypeVar("T")
R = TypeVar("R")


def is_computable(info: TensorInfo) -> bool:
    """Whether the tensor holds floats that torch knows."""
    dtype = DTYPES[info.dtype]
    return dtype.is_float and isinstance(getattr(torch, dtype.torch_name or "", None), torch.dtype)


def pieces(files: Sequence[tuple[TensorFile, TensorInfo]]) -> Iterator[tuple[Tensor, ...]]:
    """The same elements of several tensors of equal size, as flat fp32 tensors of at most PIECE elements."""
    total = files[0][1].numel
    for start in range(0, total, PIECE):
        yield tuple(read_flat(file, info, start, min(start + PIECE, total)) for file, info in files)


def read_flat(file: TensorFile, info: TensorInfo, start: int, stop: int) -> Tensor:
    """Elements [start, stop) of a tensor in row-major order, fp32."""
    raw = torch.empty(stop - start, dtype=to_torch_dtype(info.dtype))
    size = DTYPES[info.dtype].bits // 8
    buffer = raw.view(torch.uint8).numpy().data
    file.readinto(info, buffer, start * size)
    return raw.float()


def in_parallel(
    items: Sequence[T],
    work: Callable[[T], R],
    size: Callable[[T], int],
    task: Task,
    threads: int | None,
    memory: Callable[[T], int] = lambda _: 0,
) -> list[R]:
    """`work` on every item, results in the order of the items; each thread computes with one of its own.

    size: what an item adds to the progress;  memory: bytes that working on it takes, of which MEMORY may
    be taken at once. The first error stops the rest, and so does Ctrl-C.
    """
    stop = threading.Event()
    budget = ByteBudget(MEMORY)

    def one(item: T) -> R | None:
        if stop.is_set():
            return None
        budget.take(memory(item))
        try:
            result = work(item)
        finally:
            budget.give(memory(item))
        task.advance(size(item))
        return result

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, "look", torch.set_num_threads, (1,))
    try:
        futures = [pool.submit(one, item) for item in items]
        # In slices, so that Ctrl-C is noticed on every system.
        while wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION).not_done:
            if any(future.done() and future.exception() for future in futures):
                break
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
    failed = (future.exception() for future in futures if not future.cancelled())
    error = next((found for found in failed if found is not None), None)
    if error is not None:
        raise error
    return [result for future in futures if (result := future.result()) is not None]


def squares(values: Tensor) -> float:
    """‖values‖² of a flat fp32 tensor; added up in float64, since a long fp32 dot product drifts by 1e-5."""
    return float(values.square().sum(dtype=torch.float64))
