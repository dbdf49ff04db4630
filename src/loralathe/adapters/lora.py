"""LoRA and LoCon: a product of two thin factors, with a core in between for CP (Tucker) ones.

Layouts that trainers write, out = o, in = i, rank = r, kernel = k:

    linear         up (o, r)         down (r, i)
    1×1 conv       up (o, r, 1, 1)   down (r, i, 1, 1)
    k×k conv       up (o, r, 1, 1)   down (r, i, k, k)         (LyCORIS' DyLoRA: up (o, r))
    Tucker         up (o, r, 1, 1)   mid (r, r, k, k)   down (r, i, 1, 1)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from loralathe.adapters.delta_shape import (
    DeltaShape,
    Tensors,
    check_axes,
    check_floats,
    check_partners,
    check_ranks,
)
from loralathe.tensorfiles import TensorFile

if TYPE_CHECKING:
    import torch

    from loralathe.lowrank import Factors

NAME = "LoRA"
PARTS = {
    "lora_up.weight": "up", "lora_down.weight": "down", "lora_mid.weight": "mid",
    "lora_B.weight": "up", "lora_A.weight": "down", "lora_B": "up", "lora_A": "down",
    "lora.up.weight": "up", "lora.down.weight": "down",
    "lora_linear_layer.up.weight": "up", "lora_linear_layer.down.weight": "down",
}  # fmt: skip
"""kohya's words, PEFT's, and the two of diffusers: the same tensors in the same shapes."""


def delta_shape(file: TensorFile, raw_name: str, tensors: Tensors, kernel: int) -> DeltaShape:
    """Raises InputError naming file and tensor for missing partners, integers and unfitting shapes."""
    missing = [f"lora_{part}.weight" for part in ("up", "down") if part not in tensors]
    check_partners(file, raw_name, NAME, missing)
    check_floats(file, NAME, tensors)
    up, down, mid = tensors["up"], tensors["down"], tensors.get("mid")
    flat = len(up.shape) >= 2 and up.shape[2:] in ((), (1, 1))
    check_axes(file, NAME, up, flat, "(out, rank) or (out, rank, 1, 1)")
    check_axes(file, NAME, down, len(down.shape) in (2, 4), "(rank, in) or (rank, in, k, k)")
    if mid is None:
        check_ranks(file, up, down, (1, 0))
    else:
        check_axes(file, NAME, mid, len(mid.shape) == 4, "(rank, rank, k, k)")
        thin = down.shape[2:] in ((), (1, 1))
        check_axes(file, NAME, down, thin, "(rank, in, 1, 1) beside lora_mid")
        check_ranks(file, up, mid, (1, 0))
        check_ranks(file, mid, down, (1, 0))
    kernel_shape = (mid or down).shape[2:]
    return DeltaShape((up.shape[0], down.shape[1], *kernel_shape), up.shape[1], down.shape[0])


def factors(read: Callable[[str], torch.Tensor], tensors: Tensors, shape: tuple[int, ...]) -> Factors:
    """up (out, r), down (r, in·k·k); with a core, down is (r, in)."""
    from loralathe.lowrank import Factors

    mid = read("mid") if "mid" in tensors else None
    return Factors(read("up").flatten(1), read("down").flatten(1), shape, mid)
