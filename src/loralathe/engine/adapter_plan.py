"""What headers tell of an adapter to be made: where it looks, how large its ranks can get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from loralathe.engine.sources import Sources
from loralathe.engine.specialize import Specializer, in_scope
from loralathe.engine.units import ModuleAddress, RowSlice, Unit
from loralathe.language import Save
from loralathe.language.expressions import (
    DEFAULT_RANK,
    AdapterLeaf,
    ExtractLeaf,
    LinearExpression,
    walk,
)
from loralathe.tensorfiles import DTYPES as FILE_DTYPES


@dataclass(frozen=True)
class AdapterOutput:
    """An adapter to be made; `units` are all tensors of which something is to be measured or kept.

    bounds: the most that the rank of each module in scope can be, by canonical name.
    """

    save: Save
    leaf: ExtractLeaf
    dtype: str
    units: tuple[Unit, ...]
    prediction: str
    bounds: dict[str, int]
    vae: None = None

    @cached_property
    def nominal(self) -> int:
        """The alpha of the whole file: the rank asked for, the largest of joined ones, else the default."""
        options = self.leaf.options
        if options.joined:
            return max(self.bounds.values(), default=1)
        return options.rank or DEFAULT_RANK

    @property
    def one_rank(self) -> int | None:
        """The rank that metadata names; None when modules differ by intention."""
        options = self.leaf.options
        same = options.joined and len(set(self.bounds.values())) == 1
        return self.nominal if options.is_fixed or same else None

    @property
    def max_nbytes(self) -> int:
        """Upper bound of the size of the tensors."""
        budget = self.leaf.options.budget
        total = sum(
            self.bounds[row_slice.address.name] * (row_slice.rows + unit.row_elements)
            for unit in self.units
            for row_slice in unit.slices
            if row_slice.address.name in self.bounds
        )
        nbytes = total * FILE_DTYPES[self.dtype].bits // 8
        return min(nbytes, int(budget.amount)) if budget and budget.kind == "size" else nbytes


def has_kernel(unit: Unit) -> bool:
    """Whether a tensor is a k×k convolution, k > 1."""
    return any(size > 1 for size in unit.shape[2:])


def rank_bounds(leaf: ExtractLeaf, units: tuple[Unit, ...], specializer: Specializer) -> dict[str, int]:
    """The most that each module's rank can be: the cap, its smaller side, the ranks that are joined."""
    return {
        row_slice.address.name: _bound(leaf, unit, row_slice, specializer)
        for unit in units
        for row_slice in unit.slices
        if in_scope(row_slice, leaf.options)
    }


def most_of(leaf: ExtractLeaf, unit: Unit, row_slice: RowSlice) -> int:
    """The largest rank that the options and the smaller side of a module allow."""
    side = min(row_slice.rows, unit.row_elements)
    return min(leaf.options.cap(has_kernel(unit)) or side, side)


def _bound(leaf: ExtractLeaf, unit: Unit, row_slice: RowSlice, specializer: Specializer) -> int:
    if not leaf.options.joined:
        return most_of(leaf, unit, row_slice)
    total = 0
    for term in specializer.specialize(leaf.expression, unit, row_slice).lowrank:
        if isinstance(term.leaf, AdapterLeaf) and row_slice.module is not None:
            total += specializer.sources.adapters[term.leaf.name].modules[row_slice.module.name].rank
        elif isinstance(term.leaf, ExtractLeaf):
            total += _bound(term.leaf, unit, row_slice, specializer)
    return total


def adapter_units(expression: LinearExpression, sources: Sources) -> Iterator[Unit]:
    """Units of a delta that is made of adapters alone: their modules, no checkpoint needed."""
    seen: set[str] = set()
    for inner in walk(expression):
        if not isinstance(inner, AdapterLeaf):
            continue
        adapter = sources.adapters[inner.name]
        for name, held in adapter.modules.items():
            if name not in seen:
                seen.add(name)
                module = adapter.family.module(name)
                shape = held.shape
                place = ModuleAddress(name, module.block)
                yield Unit(name, None, shape, (RowSlice(0, shape[0], place, module),))
