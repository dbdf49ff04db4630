"""A delta gathered band by band: the matrix where it is to be decomposed, its energy everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from loralathe.engine.device import on_gpu
from loralathe.engine.evaluate import Band, checked_energy
from loralathe.engine.extraction import Extracted, Noise, Request, extract_dense, seed_of
from loralathe.engine.job import Context
from loralathe.engine.specialize import SliceSum, in_scope
from loralathe.engine.units import RowSlice, Unit
from loralathe.language.expressions import (
    CheckpointLeaf,
    ExtractLeaf,
    Leaf,
    MethodLeaf,
    RoundLeaf,
    inner_expressions,
    walk,
)
from loralathe.lowrank import rounding_noise_energy, rounding_noise_sigma


class DeltaCollector:
    """Takes the bands of one slice in order; `finish` extracts."""

    def __init__(
        self,
        context: Context,
        unit: Unit,
        row_slice: RowSlice,
        leaf: ExtractLeaf,
        slice_sum: SliceSum,
        request: Request,
        reason: str,
    ) -> None:
        self.context = context
        self.unit = unit
        self.row_slice = row_slice
        self.leaf = leaf
        self.slice_sum = slice_sum
        self.request = request
        self.reason = reason
        self.primary = leaf.expression.primary
        self.base_leaf = self._base(slice_sum)
        self.energy: list[float] = []
        self.base: list[float] = []
        self.matrix: torch.Tensor | None = None
        if in_scope(row_slice, leaf.options):
            shape = (row_slice.rows, unit.row_elements)
            pinned = on_gpu(context.options.device)
            self.matrix = context.workspace.get(("delta", leaf), shape, torch.float32, pinned)

    def add(self, band: Band) -> None:
        slot = ("delta", self.leaf)
        first = band.start - self.row_slice.start
        if self.matrix is None:
            value = band.combine(self.slice_sum, slot, self.primary)
        else:
            rows = self.matrix[first : first + band.shape[0]]
            value = band.combine_into(rows, self.slice_sum, slot, self.primary)
        self.energy.append(checked_energy(value, self.unit, self.slice_sum, band, None))
        if self.base_leaf is not None:
            base = band.value(self.base_leaf, slot, self.primary).reshape(-1)
            self.base.append(float(torch.dot(base, base)))

    def finish(self) -> Extracted:
        energy = math.fsum(self.energy)
        noise = self._noise()
        if self.matrix is None:
            return Extracted(None, energy, 0.0, self.reason, noise)
        options = self.leaf.options
        component = self.row_slice.address.name.partition(".")[0]
        if options.encoder(component):
            options = replace(options, keep_noise=True)
        seed = seed_of(self.row_slice.address.name)
        device = self.context.options.device
        return extract_dense(self.matrix, energy, self.request, options, noise, seed, device)

    def _noise(self) -> Noise:
        """Rounding noise of the inputs in this delta: the coarsest dtype, the largest coefficient."""
        shape = (self.row_slice.rows, self.unit.row_elements)
        count = shape[0] * shape[1]
        dtypes = sorted({name for term in self.slice_sum.dense for name in self._dtypes(term.leaf)})
        if not dtypes:
            return Noise()
        rms = math.sqrt(math.fsum(self.base) / count) if count else 0.0
        scale = max(abs(term.factor) * _gain(term.leaf) for term in self.slice_sum.dense)
        return Noise(
            rounding_noise_sigma(rms, shape, dtypes) * scale,
            rounding_noise_energy(rms, shape, dtypes) * scale**2,
        )

    def _base(self, slice_sum: SliceSum) -> Leaf | None:
        """The first weights among the terms, those inside methods too: their size sets the rounding."""
        for term in slice_sum.dense:
            if not isinstance(term.leaf, MethodLeaf):
                return term.leaf
            for expression in term.leaf.arguments:
                inner = self.context.specializer.specialize(expression, self.unit, self.row_slice)
                if found := self._base(inner):
                    return found
        return None

    def _dtypes(self, leaf: Leaf) -> Iterator[str]:
        if isinstance(leaf, CheckpointLeaf):
            assert self.unit.key is not None
            yield self.context.sources.checkpoints[leaf.name].tensors[self.unit.key].dtype
        elif isinstance(leaf, RoundLeaf):
            yield leaf.dtype
        for expression in inner_expressions(leaf):
            for inner in walk(expression):
                if isinstance(inner, CheckpointLeaf):
                    yield from self._dtypes(inner)


def _gain(leaf: Leaf) -> float:
    """How much larger a method makes the noise of its arguments, methods inside methods included."""
    if not isinstance(leaf, MethodLeaf):
        return 1.0
    inside = (
        _gain(term.leaf) * abs(term.strength.unet)
        for expression in leaf.arguments
        for term in expression.terms
    )
    return leaf.method.gain * max(inside, default=1.0)
