"""Units of an adapter output: which modules are there, how their factors and ranks fit the difference.

By Eckart–Young no matrix of rank k is closer to Δ than its truncated SVD, whose error √(Σ_{i>k} σ_i²) comes
from the singular values alone: the roots of the eigenvalues of ΔΔᵀ, here in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from loralathe.adapters import AdapterFormat, completions
from loralathe.engine import AdapterOutput, RowSlice, Session, Unit, adapter_format, has_kernel, in_scope
from loralathe.language import Call, Name
from loralathe.lowrank import (
    ARITHMETIC_ROUNDING,
    NOISE_EDGE,
    Rounding,
    absolute_rounding,
    relative_rounding,
    rounding_noise_energy,
    rounding_noise_sigma,
)
from loralathe.tensorfiles import TensorFile
from loralathe.verification.facts import Finding, TensorCheck
from loralathe.verification.linear import Linear, NoReferenceError
from loralathe.verification.reference import Reference, read_rows
from loralathe.verification.replay import Replay, Replayed

PARTS = ("lora_up.weight", "lora_down.weight", "alpha")
PLAIN = frozenset({
    "rank", "conv_rank", "exact", "pad_ranks", "keep_noise", "keep_norm", "te1", "te2", "te3", "conv",
    "unbalanced",
})  # fmt: skip
"""Arguments of extract() under which a module's rank follows from its own difference alone."""


TOLERANCE = 0.01
"""An error this much over the optimum is what the randomized search may leave on white noise."""
ROUNDINGS = 4.0
"""Rounding of the factors to their dtype, in rms errors of one element, that the product may show."""
ELEMENT = 12.0
"""The same for one element of a factor, beside its own last bit."""
FP32 = 2e-6
"""Relative error of a decomposition in fp32."""
BORDER = 0.1
"""Singular values this close to the noise floor may be counted or not: the search settles them last."""


@dataclass(frozen=True)
class AdapterChecker:
    """Checks the modules of one extracted adapter; safe to use from several threads."""

    session: Session
    output: AdapterOutput
    file: TensorFile
    linear: Linear
    replay: Replay
    exact: bool

    @cached_property
    def zeros(self) -> frozenset[str]:
        """Modules of the file that hold nothing but complete an attention (`completions`), by their names."""
        family = self.session.sources.require_family()
        written = adapter_format(self.output, family)
        held = {key.partition(".")[0] for key in self.file.header.tensors}
        places = {name: family.module_of_kohya(name) for name in held if name_in(self.file, name)}
        shapes = {place: self._shape(name) for name, place in places.items() if place}
        empty = {place for name, place in places.items() if place and self._is_empty(name, written)}
        rest = {place: shape for place, shape in shapes.items() if place not in empty}
        return frozenset(map(family.kohya_name, completions(rest, written)))

    def _shape(self, name: str) -> tuple[int, ...]:
        up, down = (self.file.header.tensors[f"{name}.{part}"] for part in PARTS[:2])
        return (up.shape[0], *down.shape[1:])

    def _is_empty(self, name: str, written: AdapterFormat) -> bool:
        rank = written.pad_to or 1
        if self.file.header.tensors[f"{name}.{PARTS[1]}"].shape[:1] != (rank,):
            return False
        return not any(_matrix(self.file, f"{name}.{part}").any() for part in PARTS[:2])

    def holds(self, name: str) -> bool:
        """Whether the file has factors of a module that are not there for the others' sake."""
        return name_in(self.file, name) and name not in self.zeros

    def check_zeros(self) -> Iterator[Finding]:
        """A module that an attention is incomplete without."""
        for name in sorted(self.zeros):
            if not name_in(self.file, name):
                yield Finding(name, "it is missing; A1111 ignores the rest of the attention without it")

    def names(self, unit: Unit) -> dict[str, RowSlice]:
        """Modules that the unit may give the file: name in the file → slice."""
        options = self.output.leaf.options
        family = self.session.sources.family
        assert family is not None
        return {
            family.kohya_name(row_slice.module.name): row_slice
            for row_slice in unit.slices
            if row_slice.module is not None and in_scope(row_slice, options)
        }

    def memory(self, unit: Unit) -> int:
        """Bytes: the engine's own, and the difference with its products in float64."""
        return self.replay.memory(unit) + 40 * unit.numel

    def check(self, unit: Unit, block: str) -> list[TensorCheck]:
        """All modules of one unit."""
        replayed = self.replay.run(unit)
        return [
            self._module(name, unit, row_slice, block, replayed)
            for name, row_slice in self.names(unit).items()
        ]

    def _module(
        self, name: str, unit: Unit, row_slice: RowSlice, block: str, replayed: Replayed
    ) -> TensorCheck:
        kind, excess = "extracted", 0.0
        there = self.holds(name)
        problems: list[str] = []
        try:
            excess, problems = self._judged(name, unit, row_slice, replayed)
        except NoReferenceError:
            kind = "replayed"
        made = any(key.startswith(f"{name}.") for key in replayed.made)
        differing = sum(count for key, count in replayed.differing.items() if key.startswith(f"{name}."))
        if (self.exact or kind == "replayed") and not problems:
            if made != there:
                problems.append(f"this version would {'write' if made else 'leave out'} this module")
            elif differing:
                problems.append(
                    f"{differing} numbers of its factors are not those that this version computes"
                )
        elements = sum(self.file.header.tensors[f"{name}.{part}"].numel for part in PARTS) if there else 0
        return TensorCheck(name, block, kind, elements, None, excess, differing, tuple(problems))

    def _judged(
        self, name: str, unit: Unit, row_slice: RowSlice, replayed: Replayed
    ) -> tuple[float, list[str]]:
        """Excess error and problems of one module, against the formula's difference in float64."""
        call = self.linear.extraction(self.session.recipe.steps[self.output.save.step], row_slice.address)
        assert call is not None
        while call.function != "extract":
            inner = call.args[0]
            assert isinstance(inner, Call)
            call = inner
        at = Reference(
            self.session.sources, self.linear, unit, row_slice, self.output.leaf.expression.primary,
            lambda inner: self.replay.matrices(replayed, row_slice, inner),
        )  # fmt: skip
        delta = torch.cat([at.value(call.args[0], start, stop).exact for start, stop in at.bands()])
        spectrum = Spectrum.of(delta)
        lowest, highest = 0, min(delta.shape)
        if {key for key, _ in call.kwargs} <= PLAIN:
            wanted = self.output.leaf.options.cap(has_kernel(unit)) or min(delta.shape)
            lowest, highest = spectrum.ranks(wanted, self._floor(at, call, delta))
        if not self.holds(name):
            text = f"it is missing, though the difference has {lowest} directions above the noise"
            return 0.0, [text] if lowest else []
        if (odd := self._odd_shapes(name, unit, row_slice)) is not None:
            return 0.0, [odd]
        up, down = self._stored(name, row_slice)
        if self.output.leaf.options.keep_norm:
            up = up / spectrum.gain(up, down, self._noise(at, call, delta)[1])
        if not lowest <= up.shape[1] <= highest:
            expected = f"{lowest}" if lowest == highest else f"{lowest} to {highest}"
            return 0.0, [f"it has the rank {up.shape[1]}, the recipe gives {expected}"]
        judged = judge(spectrum, up, down, self.output.dtype)
        return judged.excess, list(judged.problems)

    def _floor(self, at: Reference, call: Call, delta: Tensor) -> float:
        """The largest singular value of the inputs' rounding noise here (docs/semantics.md §6)."""
        return self._noise(at, call, delta)[0]

    def _noise(self, at: Reference, call: Call, delta: Tensor) -> tuple[float, float]:
        """That, and the noise's squared norm."""
        options = self.output.leaf.options
        module = at.row_slice.module
        kept = options.encoder(module.component) if module else None
        parts = self.linear.parts(call.args[0], at.row_slice.address)
        dense = {leaf: factor for leaf, factor in at.leaves(parts).items() if at.is_dense(leaf)}
        if options.keep_noise or kept or not dense:
            return 0.0, 0.0
        first = next(iter(dense))
        squares = math.fsum(
            float(at.value(first, start, stop).exact.square().sum()) for start, stop in at.bands()
        )
        dtypes = list({dtype for leaf in dense for dtype in self._dtypes(at, leaf)})
        rms = math.sqrt(squares / delta.numel())
        shape = (delta.shape[0], delta.shape[1])
        scale = max(map(abs, dense.values()))
        energy = rounding_noise_energy(rms, shape, dtypes) * scale**2
        return rounding_noise_sigma(rms, shape, dtypes) * scale, energy

    def _dtypes(self, at: Reference, leaf: Name | Call) -> Iterator[Rounding]:
        if isinstance(leaf, Call):
            yield {"fp16": "F16", "bf16": "BF16"}[leaf.function]
            for part in at.checkpoints(self.linear.parts(leaf.args[0], at.row_slice.address)):
                yield from self._dtypes(at, part.leaf)
        else:
            assert at.unit.key is not None
            yield self.session.sources.checkpoints[leaf.id].tensors[at.unit.key].rounding

    def _odd_shapes(self, name: str, unit: Unit, row_slice: RowSlice) -> str | None:
        """What is wrong with the shapes or dtypes of a module's tensors."""
        up, down, alpha = (self.file.header.tensors[f"{name}.{part}"] for part in PARTS)
        rows, columns = row_slice.rows, unit.row_elements
        if row_slice.module is not None and row_slice.module.transpose:
            rows, columns = columns, rows
        rank = down.shape[0] if down.shape else 0
        fits = rank and (up.numel, down.numel, alpha.numel) == (rows * rank, rank * columns, 1)
        if not fits or up.shape[:2] != (rows, rank):
            return f"factors of {list(up.shape)} and {list(down.shape)} do not fit {[rows, columns]}"
        if {up.dtype, down.dtype} != {self.output.dtype}:
            return f"its factors are {up.dtype} and {down.dtype}, the recipe gives {self.output.dtype}"
        return None

    def _stored(self, name: str, row_slice: RowSlice) -> tuple[Tensor, Tensor]:
        """The factors of the file, alpha / rank inside, padding taken off, as the engine's slice has them."""
        tensors = self.file.header.tensors
        up, down = (_matrix(self.file, f"{name}.{part}") for part in PARTS[:2])
        alpha = read_rows(self.file.readinto, tensors[f"{name}.alpha"], 0, 1).item()
        up = up * (alpha / up.shape[1])
        if self.output.leaf.options.pad_ranks:
            used = (up != 0).any(dim=0) | (down != 0).any(dim=1)
            up, down = up[:, used], down[used]
        if row_slice.module is not None and row_slice.module.transpose:
            up, down = down.T, up.T
        return up, down


def name_in(file: TensorFile, name: str) -> bool:
    """Whether a file has the factors of a module."""
    return all(f"{name}.{part}" in file.header.tensors for part in PARTS)


def _matrix(file: TensorFile, name: str) -> Tensor:
    info = file.header.tensors[name]
    return read_rows(file.readinto, info, 0, info.shape[0])


@dataclass(frozen=True)
class Spectrum:
    """A difference and its singular values, float64, falling; delta is (rows, columns) as stored."""

    delta: Tensor
    values: Tensor
    total: float

    @staticmethod
    def of(delta: Tensor) -> Spectrum:
        gram = delta @ delta.T if delta.shape[0] <= delta.shape[1] else delta.T @ delta
        values = torch.linalg.eigvalsh(gram).flip(0).clamp(min=0.0).sqrt()
        return Spectrum(delta, values, float(delta.square().sum()))

    def least_error(self, rank: int) -> float:
        """‖Δ − Δ_k‖_F (Eckart–Young)."""
        return math.sqrt(float(self.values[rank:].square().sum()))

    def gain(self, up: Tensor, down: Tensor, noise: float) -> float:
        """How much longer the difference is, its noise left out, than its part in the factors' directions.

        Those are of the shorter side: there the search finds them, and the other side follows from them.
        """
        short = self.delta.shape[0] <= self.delta.shape[1]
        directions = torch.linalg.qr(up if short else down.T).Q
        part = directions.T @ self.delta if short else self.delta @ directions
        kept = float(part.square().sum())
        return math.sqrt(max(self.total - noise, kept) / kept) if kept else 1.0

    def ranks(self, wanted: int, floor: float) -> tuple[int, int]:
        """Least and largest rank that fit a rank asked for and a noise floor (`lowrank.choose_rank`)."""
        largest = float(self.values[0]) if len(self.values) else 0.0
        if largest == 0.0:
            return 0, 0
        edge = max(NOISE_EDGE * floor, ARITHMETIC_ROUNDING * largest)
        allowed = min(wanted, *self.delta.shape)
        counts = [int((self.values > edge * factor).sum()) for factor in (1.0 + BORDER, 1.0 - BORDER)]
        return min(counts[0], allowed), min(counts[1], allowed)


@dataclass(frozen=True)
class Judgement:
    """excess: error over the least possible, 0.01 is 1 %;  problems: in words."""

    excess: float
    problems: tuple[str, ...]


def judge(spectrum: Spectrum, up: Tensor, down: Tensor, dtype: str) -> Judgement:
    """Factors as stored, scale inside: up (rows, k), down (k, columns) in float64; dtype: of the file."""
    rank = up.shape[1]
    error = float((spectrum.delta - up @ down).norm())
    least = spectrum.least_error(rank)
    size = math.sqrt(spectrum.total)
    rounding = (ROUNDINGS * relative_rounding(dtype) + FP32) * size + _subnormal(up, down, dtype)
    problems = []
    # "Not within" rather than "beyond": NaN is within nothing.
    if not error <= (1.0 + TOLERANCE) * least + rounding:
        problems.append(
            f"the factors miss the difference by {100 * error / size if size else math.inf:.3g} %, "
            f"the best of rank {rank} by {100 * least / size if size else 0.0:.3g} %"
        )
    elif (odd := _odd_elements(spectrum.delta, up, down, dtype)) > 0:
        problems.append(f"{odd} numbers of the factors do not fit the rest of them")
    beyond = max(0.0, error - rounding)
    return Judgement(beyond / least - 1.0 if beyond > least > 0.0 else 0.0, tuple(problems))


def _odd_elements(delta: Tensor, up: Tensor, down: Tensor, dtype: str) -> int:
    """Elements of one factor that are not the least-squares fit to the other one.

    The factors are U√S and √S·Vᵀ with U·S·Vᵀ = U·Uᵀ·Δ (or Δ·V·Vᵀ, for the longer side): given one factor, the
    other one is its fit to Δ up to rounding. Rounding of the first one reaches direction i with
    ε·‖Δ‖/(√rows·σ_i), the arithmetic of the decomposition with its own ε times ‖Δ‖/σ_i.
    """
    if delta.shape[0] > delta.shape[1]:
        return _odd_elements(delta.T, down.T, up.T, dtype)
    fitted = torch.linalg.lstsq(up, delta).solution
    sizes = up.norm(dim=0) * down.norm(dim=1)
    strong = float(delta.norm()) / sizes
    relative = relative_rounding(dtype) * (1.0 + strong / math.sqrt(up.shape[0])) + FP32 * strong
    row_rms = down.norm(dim=1) / math.sqrt(down.shape[1])
    last_bit = 8.0 * relative_rounding(dtype) * down.abs()
    allowed = last_bit + (ELEMENT * relative * row_rms)[:, None] + 8.0 * absolute_rounding(dtype)
    return int((~((fitted - down).abs() <= allowed)).sum())


def _subnormal(up: Tensor, down: Tensor, dtype: str) -> float:
    """What numbers too small for the dtype lose, in the product's norm."""
    lost = absolute_rounding(dtype)
    return lost * (math.sqrt(down.numel()) * float(up.norm()) + math.sqrt(up.numel()) * float(down.norm()))
