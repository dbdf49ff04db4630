"""Values of expressions, a band of rows at a time: read, widen to fp32, add up.

Bands are small enough to stay in the processor's cache, so a term costs one pass over memory. Their size
is fixed by the tensor alone: the result does not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from loralathe.engine.slices import RowSlice, SliceSum, SliceTerm, Specializer, Unit
from loralathe.engine.sources import Sources
from loralathe.engine.workers import Workspace
from loralathe.errors import InputError, option
from loralathe.language import (
    AdapterLeaf,
    CheckpointLeaf,
    ExtractLeaf,
    Leaf,
    MakeRows,
    MethodLeaf,
    RoundLeaf,
    inner_expressions,
)
from loralathe.tensorfiles import DTYPES, TensorInfo, tensor_bytes, to_torch_dtype

LARGEST_ROOT = math.sqrt(torch.finfo(torch.float32).max)
"""What a sum of squares in fp32 can clear, whatever the output's dtype."""

BAND = 1 << 18
"""Elements in a band: 1 MiB in fp32, what one pass leaves is still in the core's cache for the next."""

Factors2d = tuple[Tensor, Tensor]
"""(up (out, r), down (r, in·k·k)), scale inside."""


LoadFactors = Callable[[Leaf, torch.dtype], Factors2d | None]
"""Factors of a low-rank leaf in a dtype; None where it holds nothing."""


MadeLeaf = AdapterLeaf | MethodLeaf
"""A leaf whose rows are made of those of other expressions: a method, or an adapter that changes weights."""

Prepare = Callable[[MadeLeaf, str | None], MakeRows]
"""(leaf, primary checkpoint) → what makes rows of it at this slice."""


def no_factors(_leaf: Leaf, _dtype: torch.dtype) -> None:
    """Where no low-rank leaf can occur."""


def no_methods(leaf: MadeLeaf, _primary: str | None) -> MakeRows:
    """Where no method can occur."""
    raise TypeError(f"{leaf} is not expected here")


class Band:
    """Rows [start, stop) of one unit, evaluated for any number of expressions; leaves are read once."""

    def __init__(
        self,
        sources: Sources,
        specializer: Specializer,
        workspace: Workspace,
        unit: Unit,
        row_slice: RowSlice,
        rows: tuple[int, int],
        factors: LoadFactors,
        prepare: Prepare = no_methods,
    ) -> None:
        self.sources = sources
        self.specializer = specializer
        self.workspace = workspace
        self.unit = unit
        self.row_slice = row_slice
        self.start, self.stop = rows
        self.shape = (self.stop - self.start, unit.row_elements)
        self._factors = factors
        self._prepare = prepare
        self._loaded: dict[tuple[Leaf, str | None], Tensor] = {}
        self._read_already: dict[str, Tensor] = {}

    def within(self, start: int, stop: int) -> Band:
        """Some of the rows, counted from the band's first; what has been read is not read again."""
        rows = self.start + start, self.start + stop
        band = Band(
            self.sources, self.specializer, self.workspace, self.unit, self.row_slice, rows,
            self._factors, self._prepare,
        )  # fmt: skip
        band._loaded = {place: value[start:stop] for place, value in self._loaded.items()}
        band._read_already = {name: raw[start:stop] for name, raw in self._read_already.items()}
        return band

    def combine(
        self, slice_sum: SliceSum, slot: object, primary: str | None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Value (rows, elements of a row) of an expression at this slice; valid until `slot` is used again.

        dtype: float32, or float64 where the output is fp32 and fp32 sums would show in its last digit.
        """
        total = self.workspace.get(("sum", slot), self.shape, dtype)
        return self.combine_into(total, slice_sum, slot, primary)

    def combine_into(self, total: Tensor, slice_sum: SliceSum, slot: object, primary: str | None) -> Tensor:
        """The same in a tensor of the caller's, float32 or float64."""
        self._dense(slice_sum.dense, total, slot, primary)
        for term in slice_sum.lowrank:
            factors = self._factors(term.leaf, total.dtype)
            if factors is not None:
                up, down = factors
                first = self.start - self.row_slice.start
                total.addmm_(up[first : first + self.shape[0]], down, alpha=term.factor)
        return total

    def _dense(self, terms: tuple[SliceTerm, ...], total: Tensor, slot: object, primary: str | None) -> None:
        """Σ factor · leaf, in as few passes as it takes: all of them wait for memory, not for arithmetic."""
        if not terms:
            total.zero_()
            return
        first, rest = terms[0], terms[1:]
        if first.factor == 1.0 and rest and total.dtype == torch.float32:
            base, other = self.value(first.leaf, slot, primary), self.value(rest[0].leaf, slot, primary)
            torch.add(base, other, alpha=rest[0].factor, out=total)
            rest = rest[1:]
        else:
            total.copy_(self._stored(first.leaf, slot, primary))
            if first.factor != 1.0:
                total.mul_(first.factor)
        for term in rest:
            total.add_(self.value(term.leaf, slot, primary), alpha=term.factor)

    def _stored(self, leaf: Leaf, slot: object, primary: str | None) -> Tensor:
        """A dense leaf's rows in the dtype at hand: a copy that widens needs no fp32 in between."""
        if not isinstance(leaf, CheckpointLeaf) or (leaf, self._fill(primary)) in self._loaded:
            return self.value(leaf, slot, primary)
        is_whole = self._info(leaf.name).shape == self.unit.shape
        return self._raw(leaf.name) if is_whole else self.value(leaf, slot, primary)

    def value(self, leaf: Leaf, slot: object, primary: str | None) -> Tensor:
        """A dense leaf's rows in fp32."""
        place = (leaf, self._fill(primary))
        if place not in self._loaded:
            if isinstance(leaf, CheckpointLeaf):
                self._loaded[place] = self._read(leaf.name, primary)
            elif isinstance(leaf, RoundLeaf):
                self._loaded[place] = self._round(leaf, slot, primary)
            elif isinstance(leaf, (AdapterLeaf, MethodLeaf)):
                self._loaded[place] = self._made(leaf, primary)
            else:
                raise TypeError(f"{leaf} is not a dense leaf")
        return self._loaded[place]

    @cached_property
    def _is_ragged(self) -> bool:
        """Whether a checkpoint has fewer input channels here than another (inpainting beside others)."""
        key = self.unit.key
        held = (source.tensors for source in self.sources.checkpoints.values())
        return any(key in tensors and tensors[key].shape != self.unit.shape for tensors in held if key)

    def _fill(self, primary: str | None) -> str | None:
        """The primary checkpoint where values depend on it: its channels stand for those that others lack."""
        return primary if self._is_ragged else None

    def _round(self, leaf: RoundLeaf, slot: object, primary: str | None) -> Tensor:
        first = leaf.expression.primary
        assert first is not None
        info = self._info(first)
        is_whole = info.shape == self.unit.shape
        within = first if is_whole else primary
        slice_sum = self.specializer.specialize(leaf.expression, self.unit, self.row_slice)
        exact = self.combine(slice_sum, (slot, leaf), within)
        narrow = self.workspace.get(("round", slot, leaf), self.shape, to_torch_dtype(leaf.dtype))
        rounded = exact.copy_(narrow.copy_(exact))
        if not is_whole:
            self._fill_channels(rounded, info, within)
        return rounded

    def _made(self, leaf: MadeLeaf, primary: str | None) -> Tensor:
        make = self._prepare(leaf, primary)
        first = self.start - self.row_slice.start
        rows = range(first, first + self.shape[0])
        given = isinstance(leaf, AdapterLeaf) or leaf.method.by_rows
        return make(self.arguments(leaf, primary) if given else (), rows)

    def arguments(self, leaf: MadeLeaf, primary: str | None) -> list[Tensor]:
        """What a leaf is made of, in fp32."""
        found = []
        for index, expression in enumerate(inner_expressions(leaf)):
            slice_sum = self.specializer.specialize(expression, self.unit, self.row_slice)
            found.append(self.combine(slice_sum, (leaf, index, self._fill(primary)), primary))
        return found

    def _info(self, name: str) -> TensorInfo:
        assert self.unit.key is not None
        return self.sources.checkpoints[name].tensors[self.unit.key]

    def _read(self, name: str, primary: str | None) -> Tensor:
        wide = self.workspace.get(("wide", name, self._fill(primary)), self.shape, torch.float32)
        raw = self._raw(name)
        if raw.shape == self.shape:
            return wide.copy_(raw)
        wide[:, : raw.shape[1]] = raw
        self._fill_channels(wide, self._info(name), primary)
        return wide

    def _fill_channels(self, wide: Tensor, info: TensorInfo, primary: str | None) -> None:
        """The primary takes more input channels (inpainting): the others' come first, the rest is its own."""
        assert primary is not None
        columns = info.numel // info.shape[0]
        wide[:, columns:] = self._raw(primary)[:, columns:]

    def _raw(self, name: str) -> Tensor:
        """The band's rows of a checkpoint in its dtype, (rows, the columns that it has); read once."""
        if name in self._read_already:
            return self._read_already[name]
        info = self._info(name)
        columns = self.shape[1] if info.shape == self.unit.shape else info.numel // info.shape[0]
        dtype = to_torch_dtype(info.dtype)
        raw = self.workspace.get(("raw", name), (self.shape[0], columns), dtype)
        row_bytes = columns * DTYPES[info.dtype].bits // 8
        file = self.sources.checkpoints[name].file
        file.readinto(info, tensor_bytes(raw), self.start * row_bytes)
        self._read_already[name] = raw
        return raw

    def blame(self, slice_sum: SliceSum) -> str:
        """Where a NaN or Inf came from: the first input whose rows are not finite."""
        for term in slice_sum.dense:
            if isinstance(term.leaf, CheckpointLeaf) and not _is_finite(self._raw(term.leaf.name)):
                return str(self.sources.checkpoints[term.leaf.name].path)
            for expression in inner_expressions(term.leaf):
                inner = self.specializer.specialize(expression, self.unit, self.row_slice)
                if found := self.blame(inner):
                    return found
        for term in slice_sum.lowrank:
            factors = self._factors(term.leaf, torch.float32)
            if factors and not all(_is_finite(factor) for factor in factors):
                if isinstance(term.leaf, ExtractLeaf):
                    return "an extracted adapter"
                return str(self.sources.adapters[term.leaf.name].file.path)  # type: ignore[union-attr]
        return ""


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def checked_energy(
    value: Tensor, unit: Unit, slice_sum: SliceSum, band: Band, dtype: torch.dtype | None
) -> float:
    """Σ value²; InputError when `value` holds NaN or Inf, or would overflow `dtype`.

    No element exceeds the root of the sum of squares, which takes a third of the time of a minimum and
    maximum; those are looked for only when the sum cannot clear the band.
    """
    flat = value.reshape(-1)
    energy = float(torch.dot(flat, flat))
    limit = math.inf if dtype is None else torch.finfo(dtype).max
    if not energy < min(limit, LARGEST_ROOT) ** 2:
        _check_extremes(value, unit, slice_sum, band, limit, dtype)
    return energy


def _check_extremes(
    value: Tensor, unit: Unit, slice_sum: SliceSum, band: Band, limit: float, dtype: torch.dtype | None
) -> None:
    low, high = (float(bound) for bound in torch.aminmax(value))
    if not (low - low == 0.0 and high - high == 0.0):
        culprit = band.blame(slice_sum)
        raise InputError(
            f"NaN or Inf in the tensor '{unit.name}'",
            where=culprit or "the result; no input holds one",
            fix="that file is damaged, or was saved by an overflowing fp16 merge; get it again"
            if culprit
            else "a strength or multiplier is far too large",
        )
    if max(-low, high) > limit:
        raise InputError(
            f"the result reaches {max(-low, high):.4g}, more than {dtype} can hold".replace("torch.", ""),
            where=f"the tensor '{unit.name}'",
            fix=f"save with {option('dtype', 'bf16')} or {option('dtype', 'fp32')}",
        )
