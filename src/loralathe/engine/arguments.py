"""A method's arguments at one slice, read apart from the bands that are being made."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from loralathe.adapters import load_magnitudes
from loralathe.engine.evaluate import Band, LoadFactors, Prepare
from loralathe.engine.job import Context
from loralathe.engine.units import ModuleAddress, RowSlice, Unit
from loralathe.engine.workers import Workspace
from loralathe.language.expressions import MethodLeaf


class SliceArguments:
    """`functions.method.Arguments` over one slice of a unit; rows count from the slice's first.

    Has buffers of its own: a method is prepared, and reads neighbouring rows, while a band is half made.
    """

    def __init__(
        self,
        context: Context,
        unit: Unit,
        row_slice: RowSlice,
        leaf: MethodLeaf,
        primary: str | None,
        factors: LoadFactors,
        prepare: Prepare,
    ) -> None:
        self.context = context
        self.unit = unit
        self.row_slice = row_slice
        self.leaf = leaf
        self.primary = primary
        self.factors = factors
        self.prepare = prepare

    @property
    def address(self) -> ModuleAddress:
        return self.row_slice.address

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.row_slice.rows, *self.unit.shape[1:])

    def magnitudes(self, adapter: str) -> tuple[Tensor, bool] | None:
        source, module = self.context.sources.adapters[adapter], self.row_slice.module
        held = source.modules.get(module.name) if module else None
        if module is None or held is None or held.magnitudes is None:
            return None
        found = load_magnitudes(source, held)
        assert found is not None
        return found, (held.magnitudes == 0) != module.transpose

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
