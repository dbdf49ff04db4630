"""Sums of what a saved slice holds of what is added, taken while its bands are in the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from loralathe.engine.evaluate import BAND, Band
from loralathe.engine.extraction import seed_of
from loralathe.engine.held import EXACT, HeldSums, Share, SliceSums
from loralathe.engine.outputs import TensorPlan
from loralathe.engine.slices import RowSlice, Specializer
from loralathe.engine.workers import Workspace
from loralathe.families import block_label

CHUNK = 1 << 15
"""Elements that are measured at once."""

EVERY = 8
"""Of a slice of more than a band, one chunk of every eighth band is measured: 2 % of its elements.

Rounding errors of neighbours are independent, so that is exact enough: the shares of a layer of 1280 × 1280
are off by the error divided by 180, those of SDXL by the error divided by 7000.
"""


class SliceMeter:
    """Takes the bands of one slice of one saved tensor in order; `finish` hands the sums over."""

    def __init__(
        self,
        held: HeldSums,
        tensor: TensorPlan,
        row_slice: RowSlice,
        specializer: Specializer,
        workspace: Workspace,
    ) -> None:
        self.held = held
        self.tensor = tensor
        self.row_slice = row_slice
        self.workspace = workspace
        changed = tensor.bucket == "changed"
        specialized = {
            name: specializer.specialize(part, tensor.unit, row_slice)
            for name, part in (held.parts if changed else {}).items()
        }
        self.parts = {name: part for name, part in specialized.items() if not part.is_zero}
        self.is_coarse = bool(self.parts) and tensor.spec.dtype not in {"F16", *EXACT}
        columns = max(1, tensor.unit.row_elements)
        self.is_whole = row_slice.rows * columns <= BAND
        self.step = max(1, CHUNK // columns)
        self.every = min(EVERY, math.ceil(row_slice.rows / max(1, BAND // columns)))
        self.bands = self.rows = 0
        self.seed = seed_of(row_slice.address.name)
        self.products: Tensor | None = None

    def add(self, band: Band, exact: Tensor, saved: Tensor) -> None:
        """exact: the band before it was rounded;  saved: as it is written."""
        for start, stop in self._chunks(len(exact)):
            products = self._products(band.within(start, stop), exact[start:stop], saved[start:stop])
            self.products = products if self.products is None else self.products.add_(products)
            self.rows += stop - start
        self.bands += 1

    def _chunks(self, rows: int) -> Iterator[tuple[int, int]]:
        """All rows of a small slice; some rows of a large one, at places that its name decides."""
        if self.is_whole:
            for start in range(0, rows, self.step):
                yield start, min(start + self.step, rows)
        elif (self.bands - self.seed) % self.every == 0:
            room = max(1, rows - self.step + 1)
            start = (self.seed + self.bands * (room // 2 + 1)) % room
            yield start, min(start + self.step, rows)

    def _products(self, band: Band, exact: Tensor, saved: Tensor) -> Tensor:
        """Inner products of E, of E in fp16 where that is asked for, of Δ and of its parts; in this order."""
        first = 2 if self.is_coarse else 1
        several = len(self.parts) > 1
        rows = first + several + len(self.parts)
        held = self.workspace.get("held", (rows, exact.numel()), torch.float32)
        held[0].view(exact.shape).copy_(saved).sub_(exact)
        if self.is_coarse:
            held[1].view(exact.shape).copy_(exact.half()).sub_(exact)
        for number, part in enumerate(self.parts.values(), first + several):
            total = held[number].view(exact.shape)
            band.combine_into(total, part, ("held", number), self.tensor.primary)
        if several:
            torch.sum(held[first + 1 :], dim=0, out=held[first])
        return torch.mm(held, held.T).double()

    def finish(self) -> None:
        """The sums of the slice, as those of what was measured tell."""
        if self.products is None:
            return
        address = self.row_slice.address
        products = (self.products * (self.row_slice.rows / self.rows)).tolist()
        first = 2 if self.is_coarse else 1
        shares = [
            Share(products[number][number], products[0][number], products[first - 1][number])
            for number in range(first, len(products))
        ]
        self.held.add(
            SliceSums(
                block_label(address.name.partition(".")[0], address.block),
                self.tensor.spec.dtype,
                products[0][0],
                shares[0] if shares else Share(0.0, 0.0, 0.0),
                dict(zip(self.parts, shares[-len(self.parts) :], strict=True)) if shares else {},
            )
        )
