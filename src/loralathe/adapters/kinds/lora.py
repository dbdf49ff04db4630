"""LoRA and LoCon: a product of two thin factors, with a core in between for CP (Tucker) ones.

Layouts that trainers write, out = o, in = i, rank = r, kernel = k:

    linear         up (o, r)         down (r, i)
    1×1 conv       up (o, r, 1, 1)   down (r, i, 1, 1)
    k×k conv       up (o, r, 1, 1)   down (r, i, k, k)         (LyCORIS' DyLoRA: up (o, r))
    Tucker         up (o, r, 1, 1)   mid (r, r, k, k)   down (r, i, 1, 1)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from loralathe.adapters.kind import DeltaShape, Kind, ModuleData, ModuleHeader, Shapes

if TYPE_CHECKING:
    from loralathe.lowrank import Factors

PARTS = {
    "lora_up.weight": "up", "lora_down.weight": "down", "lora_mid.weight": "mid",
    "lora_B.weight": "up", "lora_A.weight": "down", "lora_B": "up", "lora_A": "down",
    "lora.up.weight": "up", "lora.down.weight": "down",
    "lora_linear_layer.up.weight": "up", "lora_linear_layer.down.weight": "down",
}  # fmt: skip
"""kohya's words, PEFT's, and the two of diffusers: the same tensors in the same shapes."""
WIDE = tuple(part for part, own in PARTS.items() if own in ("down", "mid"))
"""Parts whose shape tells a convolution with a kernel above 1×1."""


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """Raises InputError naming file and tensor for missing partners and unfitting shapes."""
    tensors = header.tensors
    header.check_missing([f"lora_{part}.weight" for part in ("up", "down") if part not in tensors])
    up, down, mid = tensors["up"], tensors["down"], tensors.get("mid")
    flat = len(up.shape) >= 2 and up.shape[2:] in ((), (1, 1))
    header.check_axes(up, flat, "(out, rank) or (out, rank, 1, 1)")
    header.check_axes(down, len(down.shape) in (2, 4), "(rank, in) or (rank, in, k, k)")
    if mid is None:
        header.check_ranks(up, down, (1, 0))
    else:
        header.check_axes(mid, len(mid.shape) == 4, "(rank, rank, k, k)")
        thin = down.shape[2:] in ((), (1, 1))
        header.check_axes(down, thin, "(rank, in, 1, 1) beside lora_mid")
        header.check_ranks(up, mid, (1, 0))
        header.check_ranks(mid, down, (1, 0))
    kernel_shape = (mid or down).shape[2:]
    return DeltaShape((up.shape[0], down.shape[1], *kernel_shape), up.shape[1], down.shape[0])


def factors(module: ModuleData) -> Factors:
    """up (out, r), down (r, in·k·k); with a core, down is (r, in)."""
    from loralathe.lowrank import Factors

    mid = module.read("mid") if "mid" in module.tensors else None
    return Factors(module.read("up").flatten(1), module.read("down").flatten(1), module.shape, mid)


def _variant(shapes: Shapes) -> str:
    return "locon" if any(size > 1 for part in WIDE for size in shapes.get(part, ())[2:]) else "lora"


DOWN = tuple(part for part, own in PARTS.items() if own == "down")
_LORA = Kind(
    "lora", "LoRA", PARTS, delta_shape, factors,
    core=("lora_mid.weight",), variant=_variant, ranked=DOWN, layered=DOWN,
)  # fmt: skip
KINDS = (_LORA, replace(_LORA, id="locon", label="LoCon"))
