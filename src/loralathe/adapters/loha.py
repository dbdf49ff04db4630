"""LoHa: the element-wise product of two low-rank matrices (LyCORIS `loha`; FedPara, Hyeon-Woo et al. 2022).

    linear   w1_a (o, r)   w1_b (r, i)       w2_a, w2_b alike      Δ = (w1_a·w1_b) ∘ (w2_a·w2_b)
    conv     w1_a (o, r)   w1_b (r, i·k·k)                         the same, reshaped
    Tucker   w1_a (r, o)   w1_b (r, i)       t1 (r, r, k, k)       each side Σ_rs t[r,s,·,·] w_a[r,o] w_b[s,i]

Δ has the exact factors of the row-wise Khatri–Rao products, of rank r².
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
    smaller_side,
    unflattened,
)
from loralathe.tensorfiles import TensorFile

if TYPE_CHECKING:
    import torch

    from loralathe.lowrank import Factors

NAME = "LoHa"
SIDES = ("1", "2")
NEEDED = tuple(f"hada_w{side}_{half}" for side in SIDES for half in "ab")
PARTS = {name: name for name in (*NEEDED, "hada_t1", "hada_t2")}


def delta_shape(file: TensorFile, raw_name: str, tensors: Tensors, kernel: int) -> DeltaShape:
    """Raises InputError naming file and tensor for missing partners, integers and unfitting shapes."""
    tucker = "hada_t1" in tensors or "hada_t2" in tensors
    needed = (*NEEDED, "hada_t1", "hada_t2") if tucker else NEEDED
    check_partners(file, raw_name, NAME, [part for part in needed if part not in tensors])
    check_floats(file, NAME, tensors)
    shapes = [_side(file, tensors, side, kernel, tucker) for side in SIDES]
    second = tensors["hada_w2_a"]
    check_axes(file, NAME, second, shapes[0] == shapes[1], f"of a delta like w1's, {list(shapes[0])}")
    ranks = [tensors[f"hada_w{side}_b"].shape[0] for side in SIDES]
    most = smaller_side(shapes[0])
    rank = most if tucker else min(ranks[0] * ranks[1], most)
    return DeltaShape(shapes[0], rank, ranks[0])


def _side(file: TensorFile, tensors: Tensors, side: str, kernel: int, tucker: bool) -> tuple[int, ...]:
    """Shape of the delta that one side makes."""
    left, right = tensors[f"hada_w{side}_a"], tensors[f"hada_w{side}_b"]
    check_axes(file, NAME, left, len(left.shape) == 2, "(rank, out)" if tucker else "(out, rank)")
    check_axes(file, NAME, right, len(right.shape) == 2, "(rank, in) or (rank, in·k·k)")
    if not tucker:
        check_ranks(file, left, right, (1, 0))
        return (left.shape[0], *unflattened(file, right, right.shape[1], kernel))
    core = tensors[f"hada_t{side}"]
    check_axes(file, NAME, core, len(core.shape) == 4, "(rank, rank, k, k)")
    check_ranks(file, left, core, (0, 0))
    check_ranks(file, core, right, (1, 0))
    return (left.shape[1], right.shape[1], *core.shape[2:])


def factors(read: Callable[[str], torch.Tensor], tensors: Tensors, shape: tuple[int, ...]) -> Factors:
    """Khatri–Rao factors of rank r², or the delta itself where those were no thinner."""
    from loralathe.lowrank import dense_factors, hadamard_factors, tucker_matrix

    left = [read(f"hada_w{side}_a") for side in SIDES]
    right = [read(f"hada_w{side}_b") for side in SIDES]
    if "hada_t1" not in tensors:
        return hadamard_factors((left[0], right[0]), (left[1], right[1]), shape)
    made = [tucker_matrix(read(f"hada_t{i + 1}"), left[i].T, right[i]) for i in range(2)]
    return dense_factors((made[0] * made[1]).reshape(shape))
