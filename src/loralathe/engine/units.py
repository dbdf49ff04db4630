"""Units of work: one tensor of a model, cut into the row slices that have strengths of their own.

OpenCLIP stores q, k and v of an attention in one tensor; an adapter changes them one by one. So a
unit is a tensor, and its slices are what strengths, blocks and factors are looked up for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from loralathe.families import Family, Module


@dataclass(frozen=True, slots=True)
class ModuleAddress:
    """Where something sits, as strengths need it: a canonical name and a block."""

    name: str
    block: str | None


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Rows [start, stop) of a unit's tensor, with the module they belong to, if any."""

    start: int
    stop: int
    address: ModuleAddress
    module: Module | None

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Unit:
    """One tensor (key in the checkpoint) or, when no checkpoint takes part, one module of adapters.

    shape: of the tensor; row-major (rows, …).
    """

    name: str
    key: str | None
    shape: tuple[int, ...]
    slices: tuple[RowSlice, ...]

    @property
    def numel(self) -> int:
        total = 1
        for size in self.shape:
            total *= size
        return total

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def row_elements(self) -> int:
        return self.numel // self.rows if self.rows else 0


def unit_of_key(key: str, shape: tuple[int, ...], modules: Iterable[Module], family: Family) -> Unit:
    """The unit of a checkpoint tensor; `modules` are those whose weight lies in it."""
    rows = shape[0] if shape else 1
    slices = tuple(_slices(rows, modules))
    if not slices:
        component = family.component_of_key(key) or "other"
        address = ModuleAddress(f"{component}.{key}", family.block_of_key(key))
        slices = (RowSlice(0, rows, address, None),)
    return Unit(key, key, shape, slices)


def _slices(rows: int, modules: Iterable[Module]) -> Iterator[RowSlice]:
    for module in sorted(modules, key=lambda module: module.part or (0, 1)):
        index, count = module.part or (0, 1)
        step = rows // count
        yield RowSlice(index * step, (index + 1) * step, ModuleAddress(module.name, module.block), module)


def modules_by_key(modules: Mapping[str, Module]) -> dict[str, list[Module]]:
    """Checkpoint key to the modules whose weight it holds."""
    found: dict[str, list[Module]] = {}
    for module in modules.values():
        found.setdefault(module.key, []).append(module)
    return found
