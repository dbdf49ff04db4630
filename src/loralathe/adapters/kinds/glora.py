"""GLoRA: a low-rank change of the weight, and one of what goes into it (Chavan et al. 2023).

    now        a1 (in, r)   a2 (r, in)   b1 (out, r)   b2 (r, in[, k, k])     bm (r, r, k, k): CP, as LoRA's
    before     a2 (in, r)   a1 (r, in)   b2 (out, r)   b1 (r, in)             (LyCORIS of 2023)

LyCORIS' names changed places, and the shapes tell which file it is. With A = a1·a2 and B = b1·b2, or before
a2·a1 and b2·b1, the layer W(x + s·Ax) + s·Bx has the change

    s·(W·A + B),   s = alpha / r

where A acts on the channels of a convolution. A1111 leaves s out. LyCORIS with rs_lora takes alpha / √r,
which the file does not tell: it is read as alpha / r.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.adapters.kind import DeltaShape, Kind, MakeChange, ModuleData, ModuleHeader, Shapes, Weight
from loralathe.errors import InputError

if TYPE_CHECKING:
    import torch

    from loralathe.lowrank import Factors

NOW, BEFORE = ("a1", "a2", "b1", "b2"), ("a2", "a1", "b2", "b1")
"""The left and the right factor of A, those of B."""


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """Raises InputError naming file and tensor for missing partners and factors that make no product."""
    tensors = header.tensors
    header.check_missing([f"{name}.weight" for name in NOW if name not in tensors])
    for name, info in tensors.items():
        if name != "alpha":
            header.check_axes(info, len(info.shape) in (2, 4), "(out, rank) or (rank, in[, k, k])")
    order = _order({name: info.shape for name, info in tensors.items()})
    if order is None:
        shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in NOW)
        raise InputError(
            f"the factors of this GLoRA do not go together: {shapes}",
            where=f"{header.path}, module '{header.raw_name}'",
            fix="the file is damaged; save it again with the program that made it",
        )
    up, down, core = tensors[order[2]], tensors[order[3]], tensors.get("bm")
    if core is not None:
        header.check_axes(core, core.shape[:2] == (down.shape[0],) * 2, "(rank, rank, k, k)")
        header.check_axes(down, down.shape[2:] in ((), (1, 1)), "(rank, in, 1, 1) beside bm")
    rank = down.shape[0]
    return DeltaShape((up.shape[0], down.shape[1], *(core or down).shape[2:]), rank, rank)


def _order(shapes: Shapes) -> tuple[str, str, str, str] | None:
    """The names in today's places; both fit where all factors are square, and then today's count."""
    for order in (NOW, BEFORE):
        left, right, up, down = (shapes[name] for name in order)
        inner = (left[0], left[1]) == (right[1], right[0]) == (down[1], down[0]) and up[1] == down[0]
        if inner and all(shape[2:] in ((), (1, 1)) for shape in (left, right, up)):
            return order
    return None


def _names(module: ModuleData) -> tuple[str, str, str, str]:
    order = _order({name: info.shape for name, info in module.tensors.items()})
    assert order is not None
    return order


def factors(module: ModuleData) -> Factors:
    """Those of B; not the change, which depends on the weight."""
    from loralathe.lowrank import Factors

    _, _, up, down = _names(module)
    core = module.read("bm") if "bm" in module.tensors else None
    return Factors(module.read(up).flatten(1), module.read(down).flatten(1), module.shape, core)


def change(module: ModuleData, weight: Weight) -> MakeChange:
    """s·(W·A + B), row by row."""
    left, right = (module.read(name).flatten(1) for name in _names(module)[:2])
    left *= module.scale

    def make(values: torch.Tensor, rows: range) -> torch.Tensor:
        total = module.delta(rows)
        # (rows, in·k·k) → (rows·k·k, in): A acts on the channels at each place of the kernel.
        channels = values.reshape(len(values), left.shape[0], -1).mT
        return total.add_(((channels @ left) @ right).mT.reshape(values.shape))

    return make


def _shapes_of(shapes: Shapes) -> tuple[int, ...]:
    """(rank, in, …) of the right factor of B; () where the file makes no sense."""
    own = {part.removesuffix(".weight"): shape for part, shape in shapes.items()}
    if not all(len(own.get(name, ())) in (2, 4) for name in NOW):
        return ()
    order = _order(own)
    return own[order[3]] if order else ()


def _inputs(shapes: Shapes) -> int:
    return next(iter(_shapes_of(shapes)[1:2]), 0)


def _rank(shapes: Shapes) -> int | None:
    return next(iter(_shapes_of(shapes)[:1]), None)


PARTS = {f"{name}.weight": name for name in (*NOW, "bm")}
KINDS = (Kind("glora", "GLoRA", PARTS, delta_shape, factors, change=change, inputs=_inputs, rank=_rank),)
