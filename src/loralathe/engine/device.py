"""How worker threads share a GPU: each has a queue of its own, so that one copies while another computes.

Reading, widening and differences stay on the processor: the disk is slower than either, and a delta has to
be in memory once before it can be sent. What goes to the GPU is the decomposition. While one worker's
products run there, the others read the next tensors; with one thread nothing overlaps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


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
