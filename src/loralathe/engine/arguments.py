"""What a method or an adapter is given at one slice: values read apart from the bands that are being made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from loralathe.adapters import fits_first_channels, load_change
from loralathe.engine.evaluate import Band, LoadFactors, MadeLeaf, Prepare
from loralathe.engine.job import Context
from loralathe.engine.slices import ModuleAddress, RowSlice, Unit
from loralathe.engine.workers import Workspace
from loralathe.language import AdapterLeaf, MakeRows, MethodLeaf


@dataclass(frozen=True)
class SliceArguments:
    """`language.method.Arguments` over one slice of a unit; rows count from the slice's first.

    Has buffers of its own: a leaf is prepared, and reads neighbouring rows, while a band is half made.
    """

    context: Context
    unit: Unit
    row_slice: RowSlice
    leaf: MadeLeaf
    primary: str | None
    factors: LoadFactors
    prepare: Prepare

    @property
    def address(self) -> ModuleAddress:
        return self.row_slice.address

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.row_slice.rows, *self.unit.shape[1:])

    def bands(self) -> Iterator[list[Tensor]]:
        workspace = Workspace()
        for band in self.context.bands(self.unit, self.row_slice, self.factors, self.prepare, workspace):
            yield band.arguments(self.leaf, self.primary)

    def rows(self, start: int, stop: int) -> list[Tensor]:
        rows = (self.row_slice.start + start, self.row_slice.start + stop)
        context, workspace = self.context, Workspace()
        band = Band(
            context.sources,
            context.specializer,
            workspace,
            self.unit,
            self.row_slice,
            rows,
            self.factors,
            self.prepare,
        )
        return band.arguments(self.leaf, self.primary)


@dataclass(frozen=True)
class SliceWeight:
    """`adapters.kind.Weight`: the weights that an adapter changes, over one slice."""

    arguments: SliceArguments

    @property
    def shape(self) -> tuple[int, ...]:
        return self.arguments.shape

    def bands(self) -> Iterator[Tensor]:
        return (weight for (weight,) in self.arguments.bands())

    def rows(self, start: int, stop: int) -> Tensor:
        (weight,) = self.arguments.rows(start, stop)
        return weight


@dataclass(frozen=True)
class FirstColumns:
    """`adapters.kind.Weight`: the input channels that an adapter knows of a weight that has more."""

    weight: SliceWeight
    shape: tuple[int, ...]

    @property
    def columns(self) -> int:
        return math.prod(self.shape[1:])

    def bands(self) -> Iterator[Tensor]:
        return (band[:, : self.columns] for band in self.weight.bands())

    def rows(self, start: int, stop: int) -> Tensor:
        return self.weight.rows(start, stop)[:, : self.columns]


@dataclass(frozen=True)
class TurnedWeight:
    """`adapters.kind.Weight` of a matrix that the checkpoint stores as (in, out); small enough to be held."""

    matrix: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.matrix.shape)

    def bands(self) -> Iterator[Tensor]:
        yield self.matrix

    def rows(self, start: int, stop: int) -> Tensor:
        return self.matrix[start:stop]


def prepare_leaf(leaf: MadeLeaf, arguments: SliceArguments) -> MakeRows:
    """What makes the leaf's rows, once it has looked at all of the slice if need be."""
    if isinstance(leaf, MethodLeaf):
        return leaf.method.prepare(arguments)
    return _prepare_change(leaf, arguments)


def _prepare_change(leaf: AdapterLeaf, arguments: SliceArguments) -> MakeRows:
    module = arguments.row_slice.module
    assert module is not None, "adapters take part at modules only"
    adapter = arguments.context.sources.adapters[leaf.name]
    held, weight = adapter.modules[module.name], SliceWeight(arguments)
    if not module.transpose and fits_first_channels(held.shape, weight.shape):
        first = FirstColumns(weight, held.shape)
        narrow, lacking = load_change(adapter, held, first), arguments.unit.row_elements - first.columns
        return lambda values, rows: pad(narrow(values[0][:, : first.columns], rows), (0, lacking))
    if not module.transpose:
        make = load_change(adapter, held, weight)
        return lambda values, rows: make(values[0], rows)
    turned = TurnedWeight(torch.cat([band.clone() for band in weight.bands()]).T.contiguous())
    change = load_change(adapter, held, turned)(turned.matrix, range(turned.shape[0])).T.contiguous()
    return lambda values, rows: change[rows.start : rows.stop]
