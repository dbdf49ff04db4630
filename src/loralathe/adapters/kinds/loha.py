"""LoHa: the element-wise product of two low-rank matrices (LyCORIS `loha`; FedPara, Hyeon-Woo et al. 2022).

    linear   w1_a (o, r)   w1_b (r, i)       w2_a, w2_b alike      Δ = (w1_a·w1_b) ∘ (w2_a·w2_b)
    conv     w1_a (o, r)   w1_b (r, i·k·k)                         the same, reshaped
    Tucker   w1_a (r, o)   w1_b (r, i)       t1 (r, r, k, k)       each side Σ_rs t[r,s,·,·] w_a[r,o] w_b[s,i]

Δ has the exact factors of the row-wise Khatri–Rao products, of rank r².
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.adapters.kind import DeltaShape, Kind, ModuleData, ModuleHeader, Shapes, smaller_side

if TYPE_CHECKING:
    from loralathe.lowrank import Factors, Hadamard

SIDES = ("1", "2")
CORES = ("hada_t1", "hada_t2")
NEEDED = tuple(f"hada_w{side}_{half}" for side in SIDES for half in "ab")


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """Raises InputError naming file and tensor for missing partners and unfitting shapes."""
    tensors = header.tensors
    tucker = any(core in tensors for core in CORES)
    needed = (*NEEDED, *CORES) if tucker else NEEDED
    header.check_missing([part for part in needed if part not in tensors])
    shapes = [_side(header, side, tucker) for side in SIDES]
    second = tensors["hada_w2_a"]
    header.check_axes(second, shapes[0] == shapes[1], f"of a delta like w1's, {list(shapes[0])}")
    ranks = [tensors[f"hada_w{side}_b"].shape[0] for side in SIDES]
    most = smaller_side(shapes[0])
    rank = most if tucker else min(ranks[0] * ranks[1], most)
    return DeltaShape(shapes[0], rank, ranks[0])


def _side(header: ModuleHeader, side: str, tucker: bool) -> tuple[int, ...]:
    """Shape of the delta that one side makes."""
    left, right = header.tensors[f"hada_w{side}_a"], header.tensors[f"hada_w{side}_b"]
    header.check_axes(left, len(left.shape) == 2, "(rank, out)" if tucker else "(out, rank)")
    header.check_axes(right, len(right.shape) == 2, "(rank, in) or (rank, in·k·k)")
    if not tucker:
        header.check_ranks(left, right, (1, 0))
        return (left.shape[0], *header.unflattened(right, right.shape[1]))
    core = header.tensors[f"hada_t{side}"]
    header.check_axes(core, len(core.shape) == 4, "(rank, rank, k, k)")
    header.check_ranks(left, core, (0, 0))
    header.check_ranks(core, right, (1, 0))
    return (left.shape[1], right.shape[1], *core.shape[2:])


def factors(module: ModuleData) -> Factors:
    """Khatri–Rao factors of rank r², or the delta itself where those were no thinner."""
    from loralathe.lowrank import dense_factors, hadamard_factors, tucker_matrix

    read = module.read
    left = [read(f"hada_w{side}_a") for side in SIDES]
    right = [read(f"hada_w{side}_b") for side in SIDES]
    if "hada_t1" not in module.tensors:
        return hadamard_factors((left[0], right[0]), (left[1], right[1]), module.shape)
    made = [tucker_matrix(read(core), left[i].T, right[i]) for i, core in enumerate(CORES)]
    return dense_factors((made[0] * made[1]).reshape(module.shape))


def product(module: ModuleData) -> Hadamard:
    """(w1_a·w1_b) ∘ (w2_a·w2_b) as it stands; a core goes into the right side."""
    from loralathe.lowrank import Hadamard, tucker_sides

    read = module.read
    sides = [(read(f"hada_w{side}_a"), read(f"hada_w{side}_b")) for side in SIDES]
    if "hada_t1" in module.tensors:
        sides = [tucker_sides(read(core), *side) for core, side in zip(CORES, sides, strict=True)]
    return Hadamard(*sides)


def _inputs(shapes: Shapes) -> int:
    """Of w1_b (r, in); where a core is, of the same."""
    shape = shapes.get("hada_w1_b", ())
    return shape[1] if len(shape) > 1 else 0


KINDS = (
    Kind(
        "loha", "LoHa", {part: part for part in (*NEEDED, *CORES)}, delta_shape, factors, product,
        core=CORES, ranked=("hada_w1_b",), inputs=_inputs,
    ),
)  # fmt: skip
