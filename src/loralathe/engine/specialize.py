"""A form seen from one slice: which leaves take part there, and with what coefficient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loralathe.engine.sources import Sources
from loralathe.engine.units import RowSlice, Unit
from loralathe.language import (
    AdapterLeaf,
    CheckpointLeaf,
    ExtractLeaf,
    ExtractOptions,
    Leaf,
    LinearExpression,
    MethodLeaf,
    RoundLeaf,
    inner_expressions,
    settle,
    walk,
)
from loralathe.strengths import effective


def is_dense(leaf: Leaf) -> bool:
    """Whether a leaf's value is a whole tensor; the others are factors."""
    if isinstance(leaf, AdapterLeaf):
        return leaf.weights is not None
    return not isinstance(leaf, ExtractLeaf)


@dataclass(frozen=True, slots=True)
class SliceTerm:
    """`factor × leaf` at one slice; factor is never 0."""

    leaf: Leaf
    factor: float


@dataclass(frozen=True, slots=True)
class SliceSum:
    """What a form amounts to at one slice: dense leaves (whole tensors) and low-rank leaves (factors)."""

    dense: tuple[SliceTerm, ...]
    lowrank: tuple[SliceTerm, ...]

    @property
    def is_zero(self) -> bool:
        return not self.dense and not self.lowrank

    def is_copy_of(self, checkpoint: str) -> bool:
        """Whether nothing but that checkpoint at coefficient 1 is left."""
        return not self.lowrank and self.dense == (SliceTerm(CheckpointLeaf(checkpoint), 1.0),)


class Specializer:
    """Localises forms; remembers results, since steps share sub-expressions."""

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
        factors = {leaf: settle(values) for leaf, values in parts.items()}
        dense = tuple(
            SliceTerm(leaf, factor) for leaf, factor in factors.items() if factor != 0.0 and is_dense(leaf)
        )
        if unit.key is not None and not all(self._has(term.leaf, unit.key) for term in dense):
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
        """Whether anything in an extracted form touches this module at all."""
        return any(
            isinstance(term.leaf, (CheckpointLeaf, RoundLeaf)) or self._takes_part(term.leaf, unit, row_slice)
            for term in expression.terms
        )

    def _has(self, leaf: Leaf, key: str) -> bool:
        if isinstance(leaf, CheckpointLeaf):
            return key in self.sources.checkpoints[leaf.name].tensors
        if isinstance(leaf, RoundLeaf):
            first = leaf.expression.primary
            return first is not None and key in self.sources.checkpoints[first].tensors
        if isinstance(leaf, (AdapterLeaf, MethodLeaf)):
            inside = (inner for expression in inner_expressions(leaf) for inner in walk(expression))
            names = [inner.name for inner in inside if isinstance(inner, CheckpointLeaf)]
            return all(key in self.sources.checkpoints[name].tensors for name in names)
        return True


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
    """Extractions inside a form whose factors reach this slice, inner ones first, without their rounding."""
    for term in expression.terms:
        if isinstance(term.leaf, ExtractLeaf) and not in_scope(row_slice, term.leaf.options):
            continue
        for inner in inner_expressions(term.leaf):
            yield from extractions_at(inner, row_slice)
        if isinstance(term.leaf, ExtractLeaf):
            yield term.leaf.unrounded
