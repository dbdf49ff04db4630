"""A kind of adapter that exists only in a test: a difference by itself, up·down, with a rank of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.adapters.kind import DeltaShape, Kind, ModuleData, ModuleHeader

if TYPE_CHECKING:
    from loralathe.lowrank import Factors

PARTS = {"toy_up": "up", "toy_down": "down"}


def delta_shape(header: ModuleHeader) -> DeltaShape:
    header.check_missing([part for part in ("up", "down") if part not in header.tensors])
    up, down = header.tensors["up"].shape, header.tensors["down"].shape
    return DeltaShape((up[0], down[1]), down[0], down[0])


def factors(module: ModuleData) -> Factors:
    from loralathe.lowrank import Factors

    return Factors(module.read("up"), module.read("down"), module.shape)


KINDS = (
    Kind("toy_pair", "ToyPair", PARTS, delta_shape, factors, ranked=("toy_down",), layered=("toy_down",)),
)
