"""Formulas in float64: dense sums of whole rows, adapters as the products of their factors.

Nothing of the engine's arithmetic is used, except for extractions inside a formula: their factors are the
engine's own, since a truncated decomposition has no other exact value (they are judged by `factors`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from loralathe.adapters import load_factors
from loralathe.engine import RowSlice, Sources, Unit
from loralathe.language import Call, Name, Node
from loralathe.lowrank import FLOAT_FORMATS, flatten_tucker
from loralathe.tensorfiles import DTYPES, TensorInfo, to_torch_dtype
from loralathe.verification.linear import Leaf, Linear, Part, is_lowrank, settled

EPSILON = 2.0**-24
"""Unit roundoff of fp32, in which the engine adds up (docs/semantics.md §5)."""
ROWS = 1 << 19
"""Elements at once: 4 MiB in float64."""

Matrices = tuple[Tensor, Tensor]
"""up (rows of the slice, r) and down (r, columns)."""


@dataclass(frozen=True)
class Value:
    """Rows of a formula's value, (rows, columns) float64.

    terms: Σ |terms| that were added up;  slack: how far roundings inside the formula (fp16(x)) may put the
    engine's value, which rounds a sum in fp32 where this one rounds an exact one.
    """

    exact: Tensor
    terms: Tensor
    slack: Tensor

    @property
    def error(self) -> Tensor:
        """Bound on the engine's error before it rounds to the output's dtype."""
        return 4.0 * EPSILON * self.terms + self.slack


class Reference:
    """Evaluates formulas on rows of one slice; keep one for each slice and thread.

    primary:   the checkpoint that gives the output its keys, None for adapters alone.
    extracted: the engine's factors of an extraction, None where it has none here.
    """

    def __init__(
        self,
        sources: Sources,
        linear: Linear,
        unit: Unit,
        row_slice: RowSlice,
        primary: str | None,
        extracted: Callable[[Call], Matrices | None],
    ) -> None:
        self.sources = sources
        self.linear = linear
        self.unit = unit
        self.row_slice = row_slice
        self.primary = primary
        self._extracted = extracted
        self._factors: dict[Leaf, Matrices | None] = {}

    def bands(self) -> Iterable[tuple[int, int]]:
        """Row ranges of the slice, few enough rows at once."""
        step = max(1, ROWS // max(1, self.unit.row_elements))
        for start in range(self.row_slice.start, self.row_slice.stop, step):
            yield start, min(start + step, self.row_slice.stop)

    def value(self, node: Node, start: int, stop: int) -> Value:
        """Rows [start, stop) of the tensor under `node`."""
        parts = self.linear.parts(node, self.row_slice.address)
        shape = (stop - start, self.unit.row_elements)
        exact, terms, slack = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        for leaf, factor in self.leaves(parts).items():
            found = self._leaf(leaf, start, stop, parts)
            if found is not None:
                exact += factor * found.exact
                terms += abs(factor) * found.exact.abs()
                slack += abs(factor) * found.slack
        return Value(exact, terms, slack)

    def first_rows(self, start: int, stop: int) -> Tensor:
        """Rows of the first checkpoint."""
        assert self.primary is not None
        assert self.unit.key is not None
        source = self.sources.checkpoints[self.primary]
        return read_rows(source.file.readinto, source.tensors[self.unit.key], start, stop)

    def leaves(self, parts: tuple[Part, ...]) -> dict[Leaf, float]:
        """What takes part here. A tensor that a checkpoint lacks comes from the first one (semantics §4)."""
        found = settled(parts)
        key = self.unit.key
        dense = [leaf for leaf in found if self.is_dense(leaf)]
        if key is None or all(self._has(leaf, key) for leaf in dense):
            return found
        kept = {leaf: factor for leaf, factor in found.items() if leaf not in dense}
        first = self.first(parts)
        whole = abs(sum(part.plain for part in parts if self.is_dense(part.leaf)) - 1.0) < 1e-6
        if whole and first is not None:
            kept[Name(first)] = 1.0
        return kept

    def first(self, parts: tuple[Part, ...]) -> str | None:
        """The checkpoint that gives the keys: the first that does not cancel, block weights aside."""
        sums: dict[str, float] = {}
        weighted: set[str] = set()
        for part in self.checkpoints(parts):
            assert isinstance(part.leaf, Name)
            sums[part.leaf.id] = sums.get(part.leaf.id, 0.0) + part.plain
            if part.weighted:
                weighted.add(part.leaf.id)
        return next((name for name, total in sums.items() if abs(total) > 1e-9 or name in weighted), None)

    def checkpoints(self, parts: tuple[Part, ...]) -> Iterable[Part]:
        for part in parts:
            if isinstance(part.leaf, Name):
                if part.leaf.id in self.sources.checkpoints:
                    yield part
            elif not is_lowrank(part.leaf):
                inner = self.linear.parts(part.leaf.args[0], self.row_slice.address)
                yield from (each.times(part.plain) for each in self.checkpoints(inner))

    def is_dense(self, leaf: Leaf) -> bool:
        return leaf.id in self.sources.checkpoints if isinstance(leaf, Name) else not is_lowrank(leaf)

    def _has(self, leaf: Leaf, key: str) -> bool:
        if isinstance(leaf, Name):
            return self.sources.checkpoints[leaf.id].takes_part(key, self.unit.shape)
        first = self.first(self.linear.parts(leaf.args[0], self.row_slice.address))
        return first is not None and self._has(Name(first), key)

    def reaches(self, leaf: Leaf) -> bool:
        """Whether a leaf holds anything here."""
        return self.is_dense(leaf) or self.factors(leaf) is not None

    def _leaf(self, leaf: Leaf, start: int, stop: int, parts: tuple[Part, ...]) -> Value | None:
        if isinstance(leaf, Name) and leaf.id in self.sources.checkpoints:
            return _plain(self._rows(leaf.id, start, stop, parts))
        if isinstance(leaf, Call) and not is_lowrank(leaf):
            return self._rounded(leaf, start, stop, parts)
        factors = self.factors(leaf)
        if factors is None:
            return None
        up, down = factors
        first = self.row_slice.start
        return _plain(up[start - first : stop - first] @ down)

    def _rounded(self, call: Call, start: int, stop: int, parts: tuple[Part, ...]) -> Value:
        inner = self.value(call.args[0], start, stop)
        dtype = getattr(torch, {"fp16": "float16", "bf16": "bfloat16"}[call.function])

        def rounded(values: Tensor) -> Tensor:
            return values.to(dtype).double()

        low, high = rounded(inner.exact - inner.error), rounded(inner.exact + inner.error)
        exact, slack = rounded(inner.exact), high - low
        held = self._columns(call)
        if held < exact.shape[1]:  # input channels that are not of this formula are not rounded by it
            exact[:, held:] = self._rows(self._whole(parts), start, stop, parts)[:, held:]
            slack[:, held:] = 0.0
        return Value(exact, exact.abs(), slack)

    def _columns(self, call: Call) -> int:
        """Columns of what is rounded: those of its first checkpoint."""
        first = self.first(self.linear.parts(call.args[0], self.row_slice.address))
        assert first is not None
        assert self.unit.key is not None
        info = self.sources.checkpoints[first].tensors[self.unit.key]
        return info.numel // info.shape[0] if info.shape else 1

    def factors(self, leaf: Leaf) -> Matrices | None:
        """Matrices of an adapter or an extraction in float64; None where it holds nothing here."""
        if leaf not in self._factors:
            self._factors[leaf] = self._load(leaf)
        return self._factors[leaf]

    def _load(self, leaf: Leaf) -> Matrices | None:
        module = self.row_slice.module
        if isinstance(leaf, Call):
            return self._of_extraction(leaf)
        adapter = self.sources.adapters[leaf.id]
        if module is None or module.name not in adapter.modules:
            return None
        plain = flatten_tucker(load_factors(adapter, adapter.modules[module.name], torch.float64))
        if module.transpose:
            return plain.down.T, plain.up.T
        down = plain.up.new_zeros(plain.up.shape[1], self.unit.row_elements)
        down[:, : plain.down.shape[1]] = plain.down
        return plain.up, down

    def _of_extraction(self, call: Call) -> Matrices | None:
        if call.function == "extract":
            found = self._extracted(call)
            return None if found is None else (found[0].double(), found[1].double())
        assert isinstance(call.args[0], Call)
        inner = self._of_extraction(call.args[0])
        dtype = getattr(torch, {"fp16": "float16", "bf16": "bfloat16"}[call.function])
        return None if inner is None else (inner[0].to(dtype).double(), inner[1].to(dtype).double())

    def _rows(self, name: str, start: int, stop: int, parts: tuple[Part, ...]) -> Tensor:
        """A checkpoint's rows; input channels that it lacks (inpainting) are those of the first one."""
        source = self.sources.checkpoints[name]
        assert self.unit.key is not None
        info = source.tensors[self.unit.key]
        found = read_rows(source.file.readinto, info, start, stop)
        if info.shape == self.unit.shape:
            return found
        wide = self._rows(self._whole(parts), start, stop, parts).clone()
        wide[:, : found.shape[1]] = found
        return wide

    def _whole(self, parts: tuple[Part, ...]) -> str:
        """The checkpoint whose input channels stand for those that others lack."""
        first = self.first(parts)
        if (
            first is None
            or self.sources.checkpoints[first].tensors[self.unit.key or ""].shape != self.unit.shape
        ):
            first = self.primary
        assert first is not None
        return first


def _plain(exact: Tensor) -> Value:
    return Value(exact, exact.abs(), torch.zeros(()))


def read_rows(
    readinto: Callable[[TensorInfo, memoryview, int], None], info: TensorInfo, start: int, stop: int
) -> Tensor:
    """Rows [start, stop) of a stored tensor in float64, (rows, all else); a scalar is one row."""
    rows = info.shape[0] if info.shape else 1
    columns = info.numel // rows if rows else 0
    raw = torch.empty((stop - start) * columns, dtype=to_torch_dtype(info.dtype))
    if raw.numel():
        size = DTYPES[info.dtype].bits // 8
        readinto(info, raw.view(torch.uint8).numpy().data, start * columns * size)
    return raw.double().reshape(stop - start, columns)


def ulp(values: Tensor, dtype: str) -> Tensor:
    """Spacing of `dtype` at |values|, subnormals included; ValueError for a dtype of unknown format."""
    if dtype not in FLOAT_FORMATS:
        raise ValueError(f"no spacing is known for {dtype}")
    numbers = FLOAT_FORMATS[dtype]
    _, exponent = torch.frexp(values.abs())
    exponent = torch.where(values == 0, numbers.smallest_exponent, exponent - 1)
    exponent = torch.clamp(exponent, min=numbers.smallest_exponent) - numbers.mantissa
    return torch.ldexp(torch.ones_like(values), exponent)
