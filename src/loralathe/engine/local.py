"""A form seen from one slice: which leaves take part there, and with what coefficient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loralathe.engine.sources import Sources
from loralathe.engine.units import Slice, Unit
from loralathe.language.forms import (
    AdapterLeaf,
    CheckpointLeaf,
    ExtractLeaf,
    ExtractOptions,
    Form,
    Leaf,
    MethodLeaf,
    RoundLeaf,
    inner_forms,
    settle,
    walk,
)
from loralathe.strengths import effective

DENSE = (CheckpointLeaf, RoundLeaf, MethodLeaf)
"""Leaves whose value is a whole tensor; the others are factors."""


@dataclass(frozen=True, slots=True)
class LocalTerm:
    """`factor × leaf` at one slice; factor is never 0."""

    leaf: Leaf
    factor: float


@dataclass(frozen=True, slots=True)
class Local:
    """What a form amounts to at one slice: dense leaves (whole tensors) and low-rank leaves (factors)."""

    dense: tuple[LocalTerm, ...]
    lowrank: tuple[LocalTerm, ...]

    @property
    def is_zero(self) -> bool:
        return not self.dense and not self.lowrank

    def is_copy_of(self, checkpoint: str) -> bool:
        """Whether nothing but that checkpoint at coefficient 1 is left."""
        return not self.lowrank and self.dense == (LocalTerm(CheckpointLeaf(checkpoint), 1.0),)


class Localiser:
    """Localises forms; remembers results, since steps share sub-expressions."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._memo: dict[tuple[Form, str, int], Local] = {}

    def local(self, form: Form, unit: Unit, piece: Slice) -> Local:
        """`form` at one slice. Where a checkpoint lacks the tensor, they collapse to the primary one.

        A key only in the primary checkpoint is kept from it (docs/semantics.md §4); in a delta it is 0.
        """
        memo = (form, unit.name, piece.start)
        if memo not in self._memo:
            self._memo[memo] = self._localise(form, unit, piece)
        return self._memo[memo]

    def _localise(self, form: Form, unit: Unit, piece: Slice) -> Local:
        parts: dict[Leaf, list[float]] = {}
        for term in form.terms:
            if self._takes_part(term.leaf, unit, piece):
                parts.setdefault(term.leaf, []).append(effective(term.strength, piece.place))
        factors = {leaf: settle(values) for leaf, values in parts.items()}
        dense = tuple(
            LocalTerm(leaf, factor)
            for leaf, factor in factors.items()
            if factor != 0.0 and isinstance(leaf, DENSE)
        )
        if unit.key is not None and not all(self._has(term.leaf, unit.key) for term in dense):
            kept = form.primary if form.is_weights else None
            dense = (LocalTerm(CheckpointLeaf(kept), 1.0),) if kept is not None else ()
        lowrank = tuple(
            LocalTerm(leaf, factor)
            for leaf, factor in factors.items()
            if factor != 0.0 and isinstance(leaf, (AdapterLeaf, ExtractLeaf))
        )
        return Local(dense, lowrank)

    def _takes_part(self, leaf: Leaf, unit: Unit, piece: Slice) -> bool:
        if isinstance(leaf, AdapterLeaf):
            return piece.module is not None and piece.module.name in self.sources.adapters[leaf.name].modules
        if isinstance(leaf, ExtractLeaf):
            return in_scope(piece, leaf.options) and self._reaches(leaf.form, unit, piece)
        if isinstance(leaf, MethodLeaf) and not leaf.is_weights:
            # Every method makes 0 of zeros, so that what it does not touch can be copied.
            return leaf.method.touches(piece.place) and any(
                not self.local(form, unit, piece).is_zero for form in leaf.arguments
            )
        return True

    def _reaches(self, form: Form, unit: Unit, piece: Slice) -> bool:
        """Whether anything in an extracted form touches this module at all."""
        return any(
            isinstance(term.leaf, (CheckpointLeaf, RoundLeaf)) or self._takes_part(term.leaf, unit, piece)
            for term in form.terms
        )

    def _has(self, leaf: Leaf, key: str) -> bool:
        if isinstance(leaf, CheckpointLeaf):
            return key in self.sources.checkpoints[leaf.name].tensors
        if isinstance(leaf, RoundLeaf):
            first = leaf.form.primary
            return first is not None and key in self.sources.checkpoints[first].tensors
        if isinstance(leaf, MethodLeaf):
            inside = (inner for form in leaf.arguments for inner in walk(form))
            names = [inner.name for inner in inside if isinstance(inner, CheckpointLeaf)]
            return all(key in self.sources.checkpoints[name].tensors for name in names)
        return True


def in_scope(piece: Slice, options: ExtractOptions) -> bool:
    """Whether an extraction writes factors for this slice (docs/semantics.md §6)."""
    module = piece.module
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


def extractions_at(form: Form, piece: Slice) -> Iterator[ExtractLeaf]:
    """Extractions inside a form whose factors reach this slice, inner ones first, without their rounding."""
    for term in form.terms:
        if isinstance(term.leaf, ExtractLeaf) and not in_scope(piece, term.leaf.options):
            continue
        for inner in inner_forms(term.leaf):
            yield from extractions_at(inner, piece)
        if isinstance(term.leaf, ExtractLeaf):
            yield term.leaf.unrounded
