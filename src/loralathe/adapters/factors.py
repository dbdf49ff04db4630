"""What a module changes, as tensors: its factors and their dense delta, or the change of a weight.

alpha / rank is applied here, nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loralathe.adapters.fit import fits
from loralathe.adapters.kind import MakeChange, ModuleData, Weight
from loralathe.adapters.kinds import changing_kind, kind_that_reads
from loralathe.adapters.module import AdapterModule
from loralathe.errors import InputError

if TYPE_CHECKING:
    import torch

    from loralathe.adapters.adapter import Adapter
    from loralathe.lowrank import Factors, Product


def load_factors(adapter: Adapter, module: AdapterModule, dtype: torch.dtype | None = None) -> Factors:
    """Reads up (out, r), down (r, in·k·k) and the core, in `dtype` (fp32), with alpha / rank folded into up.

    With a core, down is (r, in). Kinds other than LoRA come as exact factors of their delta. Strengths are
    not folded in. Positional reads: safe from several threads. Raises InputError naming file and tensor when
    a value is not finite.
    """
    if module.pieces:
        loaded = [(row, load_factors(adapter, piece, dtype)) for row, piece in module.pieces]
        return side_by_side(loaded, module.shape)
    make = kind_that_reads(module.kind).factors
    assert make is not None, f"{module.kind} has no factors"
    made = make(_data(adapter, module, dtype))
    scaled = replace(made, up=made.up * module.scale, shape=module.shape)
    return halves_swapped(scaled) if module.swapped else scaled


def load_product(adapter: Adapter, module: AdapterModule) -> Product:
    """The change of a module to be measured, rows as the file has them, alpha / rank inside.

    A product of small matrices stays one, however large the layer. Raises as `load_factors` does.
    """
    from loralathe.lowrank import Plain

    make = kind_that_reads(module.kind).product
    if make is None or module.pieces:
        return Plain(load_factors(adapter, module))
    return make(_data(adapter, module, None)).scaled(module.scale)


def load_change(adapter: Adapter, module: AdapterModule, weight: Weight) -> MakeChange:
    """What makes rows of a module's change of `weight`, in fp32, at strength 1.

    Of a kind that is a difference by itself it is that difference, whatever the weight.
    """
    if module.pieces:
        return _changes_by_rows(adapter, module, weight)
    data = _data(adapter, module, None)
    kind = changing_kind(module.kind)
    if kind is None or kind.change is None:
        return lambda _, rows: data.delta(rows)
    return kind.change(data, weight)


def _changes_by_rows(adapter: Adapter, module: AdapterModule, weight: Weight) -> MakeChange:
    """Each part's change of its own rows; zeros where the file has no part."""
    parts = [
        (
            range(start, start + piece.shape[0]),
            load_change(adapter, piece, _RowsOf(weight, start, piece.shape[0])),
        )
        for start, piece in module.pieces
    ]

    def make(values: torch.Tensor, rows: range) -> torch.Tensor:
        total = values.new_zeros(values.shape)
        for own, change in parts:
            start, stop = max(rows.start, own.start), min(rows.stop, own.stop)
            if start < stop:
                place = slice(start - rows.start, stop - rows.start)
                total[place] = change(values[place], range(start - own.start, stop - own.start))
        return total

    return make


@dataclass(frozen=True)
class _RowsOf:
    """`Weight` over some rows of another one."""

    weight: Weight
    start: int
    height: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, *self.weight.shape[1:])

    def bands(self) -> Iterator[torch.Tensor]:
        top = 0
        for band in self.weight.bands():
            first, last = max(self.start - top, 0), min(self.start + self.height - top, len(band))
            if first < last:
                yield band[first:last]
            top += len(band)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.weight.rows(self.start + start, self.start + stop)


@dataclass(frozen=True, eq=False)
class WholeWeight:
    """`Weight` of a tensor in memory, on the CPU."""

    values: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def bands(self) -> Iterator[torch.Tensor]:
        yield self.rows(0, len(self.values))

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.values[start:stop].reshape(stop - start, -1)


def _data(adapter: Adapter, module: AdapterModule, dtype: torch.dtype | None) -> ModuleData:
    import torch

    return ModuleData(
        module.tensors,
        module.shape,
        module.scale,
        read=lambda part: _read(adapter, module, part, dtype or torch.float32),
        load=lambda: load_factors(adapter, module, dtype),
        settings=module.settings,
    )


def _read(adapter: Adapter, module: AdapterModule, part: str, dtype: torch.dtype) -> torch.Tensor:
    info = module.tensors[part]
    tensor = adapter.file.read(info.name).to(dtype)
    # A finite sum has finite terms, and takes a tenth of the time of looking at each.
    if not math.isfinite(float(tensor.sum())) and not bool(tensor.isfinite().all()):
        raise InputError(
            "the tensor holds NaN or infinity",
            where=f"{adapter.file.path}, tensor '{info.name}'",
            fix="the training or its save went wrong; use another epoch of the LoRA",
        )
    return tensor


def delta(factors: Factors, weight_shape: tuple[int, ...]) -> torch.Tensor:
    """The dense difference in the weight's shape: up·down, with a core Σ_rs up[o,r] mid[r,s,·,·] down[s,i].

    A 1×1 convolution and a linear layer may stand for each other. ValueError when the shapes do not fit.
    """
    from loralathe.lowrank import dense

    if not fits(factors.shape, weight_shape):
        raise ValueError(f"factors of {factors.shape} make no delta for {weight_shape}")
    return dense(factors).reshape(weight_shape)


def widened(factors: Factors, weight_shape: tuple[int, ...]) -> Factors:
    """The same for a weight that may have more input channels: what comes after the adapter's stays alone."""
    from torch.nn.functional import pad

    lacking = math.prod(weight_shape[1:]) - factors.down.shape[1]
    return replace(factors, down=pad(factors.down, (0, lacking)), shape=weight_shape) if lacking else factors


def side_by_side(parts: Sequence[tuple[int, Factors]], shape: tuple[int, ...]) -> Factors:
    """Factors of a matrix that holds each part's product from its first row on, and zeros elsewhere."""
    import torch

    from loralathe.lowrank import Factors

    down = torch.cat([factors.down for _, factors in parts])
    up = down.new_zeros(shape[0], down.shape[0])
    column = 0
    for row, factors in parts:
        height, rank = factors.up.shape
        up[row : row + height, column : column + rank] = factors.up
        column += rank
    return Factors(up, down, shape)


def halves_swapped(factors: Factors) -> Factors:
    """The same with the upper and the lower half of the rows in each other's place."""
    half = factors.up.shape[0] // 2
    return replace(factors, up=factors.up.roll(half, 0))
