"""What headers tell of an adapter to be made: where it looks, how large its ranks can get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from loralathe.engine.local import Localiser, in_scope
from loralathe.engine.sources import Sources
from loralathe.engine.units import Place, Slice, Unit
from loralathe.language import Save
from loralathe.language.forms import (
    DEFAULT_RANK,
    AdapterLeaf,
    ExtractLeaf,
    Form,
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
            self.bounds[piece.place.name] * (piece.rows + unit.row_elements)
            for unit in self.units
            for piece in unit.slices
            if piece.place.name in self.bounds
        )
        nbytes = total * FILE_DTYPES[self.dtype].bits // 8
        return min(nbytes, int(budget.amount)) if budget and budget.kind == "size" else nbytes


def has_kernel(unit: Unit) -> bool:
    """Whether a tensor is a k×k convolution, k > 1."""
    return any(size > 1 for size in unit.shape[2:])


def rank_bounds(leaf: ExtractLeaf, units: tuple[Unit, ...], localiser: Localiser) -> dict[str, int]:
    """The most that each module's rank can be: the cap, its smaller side, the ranks that are joined."""
    return {
        piece.place.name: _bound(leaf, unit, piece, localiser)
        for unit in units
        for piece in unit.slices
        if in_scope(piece, leaf.options)
    }


def most_of(leaf: ExtractLeaf, unit: Unit, piece: Slice) -> int:
    """The largest rank that the options and the smaller side of a module allow."""
    side = min(piece.rows, unit.row_elements)
    return min(leaf.options.cap(has_kernel(unit)) or side, side)


def _bound(leaf: ExtractLeaf, unit: Unit, piece: Slice, localiser: Localiser) -> int:
    if not leaf.options.joined:
        return most_of(leaf, unit, piece)
    total = 0
    for term in localiser.local(leaf.form, unit, piece).lowrank:
        if isinstance(term.leaf, AdapterLeaf) and piece.module is not None:
            total += localiser.sources.adapters[term.leaf.name].modules[piece.module.name].rank
        elif isinstance(term.leaf, ExtractLeaf):
            total += _bound(term.leaf, unit, piece, localiser)
    return total


def adapter_units(form: Form, sources: Sources) -> Iterator[Unit]:
    """Units of a delta that is made of adapters alone: their modules, no checkpoint needed."""
    seen: set[str] = set()
    for inner in walk(form):
        if not isinstance(inner, AdapterLeaf):
            continue
        adapter = sources.adapters[inner.name]
        for name, held in adapter.modules.items():
            if name not in seen:
                seen.add(name)
                module = adapter.architecture.module(name)
                shape = held.shape
                place = Place(name, module.block)
                yield Unit(name, None, shape, (Slice(0, shape[0], place, module),))
