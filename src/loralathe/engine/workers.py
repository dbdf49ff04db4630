"""Worker threads: each computes with one thread of its own, so results do not depend on how many there are.

They share a budget of memory, and a GPU: each has a queue of its own, so that one copies while another
computes. Reading, widening and differences stay on the processor: the disk is slower than either, and a delta
has to be in memory once before it can be sent. What goes to the GPU is the decomposition. While one worker's
products run there, the others read the next tensors; with one thread nothing overlaps.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from math import prod
from typing import Any, TypeVar

import torch

from loralathe.progress import Cancel, Cancelled, Task

MEMORY = 1 << 30
"""Bytes that all threads together may take for matrices, unless the person says otherwise."""

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(
    items: Sequence[T],
    work: Callable[[T], R],
    size: Callable[[T], int],
    task: Task,
    threads: int | None = None,
    memory: Callable[[T], int] = lambda _: 0,
    *,
    limit: int = MEMORY,
    device: str = "cpu",
    stop: Cancel | None = None,
) -> list[R]:
    """`work` on every item; results in the order of the items.

    size: what an item adds to the progress;  threads: None for one on each core this process may use.
    memory: bytes that working on an item takes, of which `limit` may be taken at once.
    stop: cancelled on the first error, on Ctrl-C and with the task, so that long work may look at it.
    """
    stop = stop or Cancel()
    budget = ByteBudget(limit)
    waiting = deque(range(len(items)))
    results: dict[int, R] = {}

    def one(item: T) -> R:
        budget.take(memory(item))
        try:
            stop.check()  # after the wait for memory, which may be long
            result = work(item)
        except BaseException:
            stop.cancel()
            raise
        finally:
            budget.give(memory(item))
        task.advance(size(item))
        return result

    def work_off() -> None:
        while waiting:
            try:
                number = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            results[number] = one(items[number])

    threads = min(threads or _cores(), len(items))
    with prepared(device):
        pool = ThreadPoolExecutor(threads or 1, "lathe", prepare_worker, (device,))
        futures: list[Future[None]] = []
        try:
            # One future a thread: a future for each of a file's thousands of small tensors would cost more.
            for _ in range(threads):  # one by one: Ctrl-C may come while later ones are handed out
                futures.append(pool.submit(work_off))
            # A fifth of a second at a time, so that Ctrl-C is noticed on every system.
            while (state := wait(futures, 0.2, FIRST_EXCEPTION)).not_done:
                task.check()
                if any(future.exception() for future in state.done):
                    break
        finally:
            if len(futures) < threads or not all(future.done() for future in futures):
                stop.cancel()
            _wait_for_end(pool)
    for future in futures:
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, Cancelled):
            raise error
    task.check()
    return [results[number] for number in range(len(items))]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def beside(work: Callable[[Cancel], R]) -> Iterator[Future[R]]:
    """`work` on one more thread while the caller goes on; whoever leaves early cancels it."""
    stop = Cancel()
    pool = ThreadPoolExecutor(1, "lathe-beside")
    try:
        yield pool.submit(work, stop)
    finally:
        stop.cancel()
        _wait_for_end(pool)


def _wait_for_end(pool: ThreadPoolExecutor) -> None:
    """Until its threads have ended, whatever comes meanwhile, such as a second Ctrl-C.

    They write into files that are closed afterwards, and the next file that is opened gets the same number.
    """
    late: KeyboardInterrupt | None = None
    while True:
        try:
            pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt as error:
            late = error
        else:
            break
    if late is not None:
        raise late


class ByteBudget:
    """Bytes that may be in flight at once. A request larger than the whole budget waits to be alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._freed = threading.Condition()

    def take(self, amount: int) -> None:
        with self._freed:
            while self._used and self._used + amount > self._limit:
                self._freed.wait()
            self._used += amount

    def give(self, amount: int) -> None:
        with self._freed:
            self._used -= amount
            self._freed.notify_all()


class Workspace(threading.local):
    """Reused buffers, so that streaming does not pay for fresh pages: one set a thread.

    A slot grows to the largest size asked of it.
    """

    def __init__(self) -> None:
        self._slots: dict[tuple[object, torch.dtype], torch.Tensor] = {}
        self._views: dict[tuple[object, torch.dtype], torch.Tensor] = {}

    def get(
        self, slot: object, shape: tuple[int, ...], dtype: torch.dtype, pinned: bool = False
    ) -> torch.Tensor:
        """An uninitialised tensor of `shape`; the next `get` of the same slot hands it out again.

        pinned: in memory that a GPU reads by itself, while the processor does something else.
        """
        # Most bands have the shape of the one before, and at a millisecond a band even making a view shows.
        view = self._views.get((slot, dtype))
        if view is None or view.shape != shape:
            view = self._views[slot, dtype] = self._grown(slot, prod(shape), dtype, pinned).view(shape)
        return view

    def _grown(self, slot: object, numel: int, dtype: torch.dtype, pinned: bool) -> torch.Tensor:
        held = self._slots.get((slot, dtype))
        if held is None or held.numel() < numel:
            self._views.pop((slot, dtype), None)  # or two buffers would live at once
            self._slots.pop((slot, dtype), None)
            held = self._slots[slot, dtype] = torch.empty(numel, dtype=dtype, pin_memory=pinned)
        return held[:numel]


def on_gpu(device: str) -> bool:
    """Whether a device reads pinned memory and has queues (CUDA, ROCm)."""
    return torch.device(device).type == "cuda"


@contextmanager
def prepared(device: str) -> Iterator[None]:
    """The process as workers need it, as it was afterwards: arithmetic set, a GPU's libraries loaded."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with full_precision():
            if on_gpu(device):
                # Several streams give the same bits every time only if cuBLAS' scratch has a fixed size.
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                # torch loads its decompositions for GPUs at their first use, which fails where two threads
                # come at once ("lazy wrapper should be called at most once", pytorch issue 90613).
                torch.linalg.eigh(torch.eye(2, dtype=torch.float64, device=device))
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products and convolutions of fp32 numbers in fp32, whatever the process is set to.

    TF32 keeps 10 of their 23 bits. torch uses it in convolutions unless told otherwise, notebooks set it for
    products, and some containers by TORCH_ALLOW_TF32_CUBLAS_OVERRIDE.
    """
    products, convolutions, parts = _precisions()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
        for part, precision in parts:
            part.fp32_precision = precision


def _precisions() -> tuple[str, bool, list[tuple[Any, str]]]:
    """The process's settings by their old names, and by those that torch has had since 2.9."""
    backends = torch.backends
    found = [
        (backends.cuda, "matmul"),
        (backends.mkldnn, "matmul"),
        (backends.cudnn, "conv"),
        (backends.cudnn, "rnn"),
    ]
    parts: list[Any] = [getattr(backend, name, None) for backend, name in found]
    new = [(part, part.fp32_precision) for part in parts if hasattr(part, "fp32_precision")]
    # What was set by a new name may not be readable by the old one.
    try:
        products = torch.get_float32_matmul_precision()
    except RuntimeError:
        products = "high"
    try:
        convolutions = backends.cudnn.allow_tf32
    except RuntimeError:
        convolutions = True
    return products, convolutions, new


def prepare_worker(device: str) -> None:
    """Set up the calling thread: one thread for arithmetic, and on a GPU its own queue (stream)."""
    torch.set_num_threads(1)
    if on_gpu(device):
        torch.cuda.set_stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
