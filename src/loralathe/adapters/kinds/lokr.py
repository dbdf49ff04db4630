"""LoKr: a Kronecker product of two small matrices, each whole or in factors of its own (LyCORIS `lokr`).

    w1       w1 (ol, im), or w1_a (ol, r) · w1_b (r, im)
    w2       w2 (ok, in[, k, k]), or w2_a (ok, r) · w2_b (r, in[·k·k]),
             or Tucker: t2 (r, r, k, k), w2_a (r, ok), w2_b (r, in)
    Δ        w1 ⊗ w2, of shape (ol·ok, im·in[, k, k])

alpha is divided by w1_b's rank, else by w2_b's; with both whole the scale is 1, whatever
alpha says. PEFT divides by the rank of its config (`peft/tuners/lokr/layer.py`), whole or not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loralathe.adapters.kind import DeltaShape, Kind, ModuleData, ModuleHeader, Shapes, Tensors

if TYPE_CHECKING:
    from loralathe.lowrank import Factors, Kronecker, Pair


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """Raises InputError naming file and tensor for missing partners and unfitting shapes."""
    tensors = header.tensors
    header.check_missing([lack for side in "12" if (lack := _lacks(tensors, side))])
    small, large = _small(header), _large(header)
    shape = (small[0] * large[0], small[1] * large[1], *large[2:])
    ranks = [tensors[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in tensors]
    return DeltaShape(shape, _rank(tensors, small, large), ranks[0] if ranks else None, whole=not ranks)


def _lacks(tensors: Tensors, side: str) -> str:
    """The name of what one side has not got; '' if it is whole or has both factors."""
    whole, halves = f"lokr_w{side}", [f"lokr_w{side}_{half}" for half in "ab"]
    if whole in tensors:
        return ""
    missing = [half for half in halves if half not in tensors]
    return f"{whole}" if len(missing) == 2 else "".join(missing)


def _small(header: ModuleHeader) -> tuple[int, int]:
    tensors = header.tensors
    if "lokr_w1" in tensors:
        whole = tensors["lokr_w1"]
        header.check_axes(whole, len(whole.shape) == 2, "(out of w1, in of w1)")
        return whole.shape[0], whole.shape[1]
    left, right = tensors["lokr_w1_a"], tensors["lokr_w1_b"]
    header.check_axes(left, len(left.shape) == 2, "(out of w1, rank)")
    header.check_axes(right, len(right.shape) == 2, "(rank, in of w1)")
    header.check_ranks(left, right, (1, 0))
    return left.shape[0], right.shape[1]


def _large(header: ModuleHeader) -> tuple[int, ...]:
    tensors = header.tensors
    if "lokr_w2" in tensors:
        whole = tensors["lokr_w2"]
        header.check_axes(whole, len(whole.shape) in (2, 4), "(out of w2, in of w2[, k, k])")
        return whole.shape
    left, right = tensors["lokr_w2_a"], tensors["lokr_w2_b"]
    header.check_axes(left, len(left.shape) == 2, "(out of w2, rank)")
    header.check_axes(right, len(right.shape) == 2, "(rank, in of w2[·k·k])")
    if "lokr_t2" not in tensors:
        header.check_ranks(left, right, (1, 0))
        return (left.shape[0], *header.unflattened(right, right.shape[1]))
    core = tensors["lokr_t2"]
    header.check_axes(core, len(core.shape) == 4, "(rank, rank, k, k)")
    header.check_ranks(left, core, (0, 0))
    header.check_ranks(core, right, (1, 0))
    return (left.shape[1], right.shape[1], *core.shape[2:])


def _rank(tensors: Tensors, small: tuple[int, ...], large: tuple[int, ...]) -> int:
    """The ranks of a Kronecker product multiply."""
    sides = []
    for name, shape in (("lokr_w1_b", small), ("lokr_w2_b", large)):
        most = min(shape[0], math.prod(shape[1:]))
        thin = name in tensors and not (name == "lokr_w2_b" and "lokr_t2" in tensors)
        sides.append(min(tensors[name].shape[0], most) if thin else most)
    out, width = small[0] * large[0], small[1] * math.prod(large[1:])
    return min(sides[0] * sides[1], out, width)


def factors(module: ModuleData) -> Factors:
    """Factors of the ranks' product, or the delta itself where those were no thinner."""
    from loralathe.lowrank import kronecker_factors

    return kronecker_factors(*_pairs(module), module.shape)


def product(module: ModuleData) -> Kronecker:
    """w1 ⊗ w2 as it stands."""
    from loralathe.lowrank import Factors, Kronecker

    return Kronecker(*(Factors(*pair, (pair[0].shape[0], pair[1].shape[1])) for pair in _pairs(module)))


def _pairs(module: ModuleData) -> tuple[Pair, Pair]:
    """w1 and w2, each as factors that are as thin as shapes tell."""
    from loralathe.lowrank import thin_pair, tucker_matrix

    read, tensors = module.read, module.tensors
    if "lokr_w1" in tensors:
        small = thin_pair(read("lokr_w1"))
    else:
        small = thin_pair(read("lokr_w1_a"), read("lokr_w1_b"))
    if "lokr_w2" in tensors:
        large = thin_pair(read("lokr_w2").flatten(1))
    elif "lokr_t2" in tensors:
        large = thin_pair(tucker_matrix(read("lokr_t2"), read("lokr_w2_a").T, read("lokr_w2_b")))
    else:
        large = thin_pair(read("lokr_w2_a"), read("lokr_w2_b"))
    return small, large


PARTS = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")


def _inputs(shapes: Shapes) -> int:
    """The inputs of w1 ⊗ w2: those of w1 times those of w2, whole or as factors."""
    small = shapes.get("lokr_w1", shapes.get("lokr_w1_b", ()))
    large = shapes.get("lokr_w2", shapes.get("lokr_w2_b", ()))
    return small[1] * large[1] if len(small) > 1 and len(large) > 1 else 0


KINDS = (
    Kind(
        "lokr", "LoKr", {part: part for part in PARTS}, delta_shape, factors, product,
        core=("lokr_t1", "lokr_t2"), refused=("lokr_t1",),
        ranked=("lokr_w1_b", "lokr_w2_b"), layered=("lokr_w2",), inputs=_inputs,
    ),
)  # fmt: skip
