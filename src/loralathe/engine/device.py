"""How worker threads share a GPU: each has a queue of its own, so that one copies while another computes.

Reading, widening and differences stay on the processor: the disk is slower than either, and a delta has to
be in memory once before it can be sent. What goes to the GPU is the decomposition. While one worker's
products run there, the others read the next tensors; with one thread nothing overlaps.
"""

from __future__ import annotations

import os

import torch


def on_gpu(device: str) -> bool:
    """Whether a device reads pinned memory and has queues (CUDA, ROCm)."""
    return torch.device(device).type == "cuda"


def prepare_worker(device: str) -> None:
    """Set up the calling thread: one thread for arithmetic, and on a GPU its own queue (stream)."""
    torch.set_num_threads(1)
    if on_gpu(device):
        # With several streams cuBLAS gives the same bits every time only if its scratch has a fixed size.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.cuda.set_stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
