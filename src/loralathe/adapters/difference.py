"""Whole differences, of weights, norms and biases. They have no scale of their own.

    LyCORIS `full`, ComfyUI   diff (as the weight), diff_b (as the bias)
    LyCORIS `norm`            w_norm, b_norm (channels,)

A difference of a bias is a module of its own, beside the one of the layer, whatever kind that is.
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
    smaller_side,
)
from loralathe.tensorfiles import TensorFile

if TYPE_CHECKING:
    import torch

    from loralathe.lowrank import Factors

NAME = "full-difference"
BIASES = ("diff_b", "b_norm")
PARTS = {"diff": "diff", "w_norm": "diff", **dict.fromkeys(BIASES, "diff")}


def delta_shape(file: TensorFile, raw_name: str, tensors: Tensors, kernel: int) -> DeltaShape:
    """Raises InputError naming file and tensor for a missing difference, integers and other axes."""
    check_partners(file, raw_name, NAME, [] if "diff" in tensors else ["diff"])
    check_floats(file, NAME, tensors)
    info = tensors["diff"]
    check_axes(file, NAME, info, len(info.shape) in (1, 2, 4), "(out, in[, k, k]) or (channels)")
    return DeltaShape(info.shape, smaller_side(info.shape), None)


def factors(read: Callable[[str], torch.Tensor], tensors: Tensors, shape: tuple[int, ...]) -> Factors:
    """The difference beside a unit matrix."""
    from loralathe.lowrank import dense_factors

    return dense_factors(read("diff"))
