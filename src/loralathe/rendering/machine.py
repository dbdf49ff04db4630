"""What this machine has: optional libraries, a device, and memory for batches of images."""

from __future__ import annotations

import gc
import importlib
import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from loralathe.engine import check_device
from loralathe.errors import MachineError, is_out_of_memory, option

if TYPE_CHECKING:
    import torch

# No network is ever asked for anything; this also stops libraries that would ask by themselves.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

Item = TypeVar("Item")

MOST_AT_ONCE = 16
CPU_AT_ONCE = 4
"""On a CPU a batch saves little; small ones show pictures sooner."""

BYTES_PER_LATENT = 96 * 1024
"""Rough working memory of one guided image per latent position in half precision (SD 1.5 at 512²: 0.4 GB)."""


def library(name: str) -> Any:
    """An optional package or one of its modules. MachineError says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _missing(name, str(error)) from error


def require_library(name: str) -> None:
    """The same error without the import, which takes seconds."""
    if find_spec(name) is None:
        raise _missing(name, None)


def _missing(name: str, reason: str | None) -> MachineError:
    return MachineError(
        f"rendering needs the package '{name.split('.', maxsplit=1)[0]}'",
        where=reason,
        fix='pip install "loralathe[render]"',
    )


def pick_device(name: str) -> torch.device:
    """'auto' or a torch device name → a device that exists. Raises InputError."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    # Apple's GPUs, which have no float64, will do.
    check_device(name, "auto, cpu, cuda or mps", float64=False)
    return torch.device(name)


def planned_device(name: str) -> str:
    """What `pick_device` would take; whether a device that is named is there is not asked."""
    return pick_device(name).type if name == "auto" else name


def usual_dtype(device: str, half: Literal["fp16", "bf16"] = "fp16") -> Literal["fp32", "fp16", "bf16"]:
    """What models are computed in where nothing is said. half: the half precision of their family."""
    return "fp32" if device == "cpu" else half


def device_label(device: str) -> str:
    """A GPU by the name of its model, where it is here."""
    import torch

    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", device)
    index = int(match[1] or 0) if match else -1
    return torch.cuda.get_device_name(index) if 0 <= index < torch.cuda.device_count() else device


def batch_size_for(width: int, height: int, device: torch.device, dtype: torch.dtype) -> int:
    """A first guess of how many images fit; running out of memory corrects it."""
    import torch

    if device.type != "cuda":
        return CPU_AT_ONCE
    free, _ = torch.cuda.mem_get_info(device.index)  # None: the current one
    # What torch keeps for its next tensors is free, too.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    latents = (width // 8) * (height // 8)
    bytes_each = latents * BYTES_PER_LATENT * torch.empty((), dtype=dtype).element_size() / 2
    return int(min(MOST_AT_ONCE, max(1, free * 0.7 // bytes_each)))


def too_large() -> MachineError:
    """The error for a single image that does not fit."""
    return MachineError(
        "there is not enough memory for a single image of this size",
        fix=f"{option('low_vram', True)}, a smaller size, or another device",
    )


def in_batches(
    items: Sequence[Item],
    size: int,
    run: Callable[[Sequence[Item]], None],
    finish: Callable[[], None],
    tell: Callable[[str], None],
) -> int:
    """Run all items in batches of `size`, halved whenever memory runs out; returns the size that worked.

    `run` must have had no effect when it fails for memory; `finish` follows every batch that worked.
    MachineError when one item alone does not fit.
    """
    waiting = deque(items)
    while waiting:
        batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
        try:
            run(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise too_large() from error
            size = len(batch) // 2
            waiting.extendleft(reversed(batch))
            failed = True
        else:
            failed = False
        if failed:  # outside the handler: its traceback would keep the failed batch's tensors alive
            release_memory()
            tell(f"out of memory; going on with batches of {size}")
        else:
            finish()
    return size


def release_memory() -> None:
    """Free memory that is no longer referred to, on the GPU too."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
