"""Units of work: one tensor of a model, cut into the row slices that have strengths of their own.

OpenCLIP stores q, k and v of an attention in one tensor; an adapter changes them one by one. So a
unit is a tensor, and its slices are what strengths, blocks and factors are looked up for. A formula seen
from one slice is a sum of leaves, each with its coefficient there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from loralathe.engine.sources import Sources
from loralathe.families import Family, Module
from loralathe.language import (
    AdapterLeaf,
    CheckpointLeaf,
    ExtractLeaf,
    ExtractOptions,
    FactorMethod,
    Leaf,
    LinearExpression,
    MethodLeaf,
    RoundLeaf,
    inner_expressions,
    settle,
)
from loralathe.strengths import effective, in_float32


def is_dense(leaf: Leaf) -> bool:
    """Whether a leaf's value is a whole tensor; the others are factors."""
    if isinstance(leaf, AdapterLeaf):
        return leaf.weights is not None
    if isinstance(leaf, MethodLeaf):
        return not isinstance(leaf.method, FactorMethod)
    return not isinstance(leaf, ExtractLeaf)


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
        return prod(self.shape)

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def row_elements(self) -> int:
        return self.numel // self.rows if self.rows else 0


def unit_of_key(key: str, shape: tuple[int, ...], modules: Iterable[Module], family: Family) -> Unit:
    """The unit of a checkpoint tensor; `modules` are those whose weight lies in it."""
    rows, slices = shape[0] if shape else 1, []
    for module in sorted(modules, key=lambda module: module.part or (0, 1)):
        index, count = module.part or (0, 1)
        step, address = rows // count, ModuleAddress(module.name, module.block)
        slices.append(RowSlice(index * step, (index + 1) * step, address, module))
    if not slices:
        component = family.component_of_key(key) or "other"
        address = ModuleAddress(f"{component}.{key}", family.block_of_key(key))
        slices = [RowSlice(0, rows, address, None)]
    return Unit(key, key, shape, tuple(slices))


def modules_by_key(modules: Mapping[str, Module]) -> dict[str, list[Module]]:
    """Checkpoint key to the modules whose weight it holds."""
    found: dict[str, list[Module]] = {}
    for module in modules.values():
        found.setdefault(module.key, []).append(module)
    return found


@dataclass(frozen=True, slots=True)
class SliceTerm:
    """`factor × leaf` at one slice; factor is never 0."""

    leaf: Leaf
    factor: float


@dataclass(frozen=True, slots=True)
class SliceSum:
    """An expression at one slice: dense leaves (whole tensors) and low-rank leaves (factors)."""

    dense: tuple[SliceTerm, ...]
    lowrank: tuple[SliceTerm, ...]

    @property
    def is_zero(self) -> bool:
        return not self.dense and not self.lowrank

    def is_copy_of(self, checkpoint: str) -> bool:
        """Whether nothing but that checkpoint at coefficient 1 is left."""
        return not self.lowrank and self.dense == (SliceTerm(CheckpointLeaf(checkpoint), 1.0),)


class Specializer:
    """Expressions seen from one slice; remembers results, since steps share sub-expressions."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._memo: dict[tuple[LinearExpression, str, int], SliceSum] = {}

    def specialize(self, expression: LinearExpression, unit: Unit, row_slice: RowSlice) -> SliceSum:
        """`expression` at one slice. Where a checkpoint lacks the tensor, they collapse to the primary one.

        A key only in the primary checkpoint is kept from it (docs/semantics.md §4); in a delta it is 0.
        """
        memo = (expression, unit.name, row_slice.start)
        if memo not in self._memo:
            self._memo[memo] = self._compute(expression, unit, row_slice)
        return self._memo[memo]

    def _compute(self, expression: LinearExpression, unit: Unit, row_slice: RowSlice) -> SliceSum:
        parts: dict[Leaf, list[float]] = {}
        for term in expression.terms:
            if self._takes_part(term.leaf, unit, row_slice):
                parts.setdefault(term.leaf, []).append(effective(term.strength, row_slice.address))
        factors = {leaf: in_float32(settle(values)) for leaf, values in parts.items()}
        dense = tuple(
            SliceTerm(leaf, factor) for leaf, factor in factors.items() if factor != 0.0 and is_dense(leaf)
        )
        if unit.key is not None and not all(self._has(term.leaf, unit) for term in dense):
            kept = expression.primary if expression.is_weights else None
            dense = (SliceTerm(CheckpointLeaf(kept), 1.0),) if kept is not None else ()
        lowrank = tuple(
            SliceTerm(leaf, factor)
            for leaf, factor in factors.items()
            if factor != 0.0 and not is_dense(leaf)
        )
        return SliceSum(dense, lowrank)

    def _takes_part(self, leaf: Leaf, unit: Unit, row_slice: RowSlice) -> bool:
        if isinstance(leaf, AdapterLeaf):
            return (
                row_slice.module is not None
                and row_slice.module.name in self.sources.adapters[leaf.name].modules
            )
        if isinstance(leaf, ExtractLeaf):
            return in_scope(row_slice, leaf.options) and self._reaches(leaf.expression, unit, row_slice)
        if isinstance(leaf, MethodLeaf) and not leaf.is_weights:
            # Every method makes 0 of zeros, so that what it does not touch can be copied.
            return leaf.method.touches(row_slice.address) and any(
                not self.specialize(expression, unit, row_slice).is_zero for expression in leaf.arguments
            )
        return True

    def _reaches(self, expression: LinearExpression, unit: Unit, row_slice: RowSlice) -> bool:
        """Whether anything in an extracted expression touches this module at all."""
        return any(
            isinstance(term.leaf, (CheckpointLeaf, RoundLeaf)) or self._takes_part(term.leaf, unit, row_slice)
            for term in expression.terms
        )

    def _has(self, leaf: Leaf, unit: Unit) -> bool:
        names: Iterable[str] = ()
        if isinstance(leaf, CheckpointLeaf):
            names = (leaf.name,)
        elif isinstance(leaf, RoundLeaf):
            first = leaf.expression.primary
            if first is None:
                return False
            names = (first,)
        elif isinstance(leaf, (AdapterLeaf, MethodLeaf)):
            names = (name for expression in inner_expressions(leaf) for name in expression.checkpoints)
        return all(self.sources.checkpoints[name].takes_part(unit.key or "", unit.shape) for name in names)


def in_scope(row_slice: RowSlice, options: ExtractOptions) -> bool:
    """Whether an extraction writes factors for this slice (docs/semantics.md §6)."""
    module = row_slice.module
    if module is None or module.component == "vae":  # No adapter has names for the layers of a VAE.
        return False
    if module.scope == "vector":
        return False
    if options.everything:
        return True
    if module.scope == "outside":
        return False
    if module.scope == "conv" and not options.with_conv:
        return False
    return options.encoder(module.component) is not False


def extractions_at(expression: LinearExpression, row_slice: RowSlice) -> Iterator[ExtractLeaf]:
    """Extractions inside whose factors reach this slice, inner ones first, without their rounding."""
    for term in expression.terms:
        if isinstance(term.leaf, ExtractLeaf) and not in_scope(row_slice, term.leaf.options):
            continue
        for inner in inner_expressions(term.leaf):
            yield from extractions_at(inner, row_slice)
        if isinstance(term.leaf, ExtractLeaf):
            yield term.leaf.unrounded
