"""Whole differences (LyCORIS' `full`, ComfyUI's): `diff`, as the weight. They have no scale of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..tensorfiles import TensorFile
from .form import Form, Tensors, check_axes, check_floats, check_partners, smaller_side

if TYPE_CHECKING:
    import torch

    from ..lowrank import Factors

NAME = "full-difference"
PARTS = {"diff": "diff"}


def form(file: TensorFile, raw_name: str, tensors: Tensors, kernel: int) -> Form:
    """Raises InputError naming file and tensor for a missing difference, integers and other axes."""
    check_partners(file, raw_name, NAME, [] if "diff" in tensors else ["diff"])
    check_floats(file, NAME, tensors)
    info = tensors["diff"]
    check_axes(file, NAME, info, len(info.shape) in (2, 4), "(out, in[, k, k])")
    return Form(info.shape, smaller_side(info.shape), None)


def factors(read: Callable[[str], torch.Tensor], tensors: Tensors, shape: tuple[int, ...]) -> Factors:
    """The difference beside a unit matrix."""
    from ..lowrank import dense_factors

    return dense_factors(read("diff"))
