"""How much of what a formula adds is in the saved checkpoint, once it is rounded (docs/semantics.md §8).

W is the first checkpoint, W′ the saved tensor, Δ = Σ Δᵢ what is added to W, part by part. What is lost is
E = (W′ − W) − Δ. Sums over slices give, for the file and for each block:

    held = ⟨W′ − W, Δ⟩ / ‖Δ‖² = 1 + ⟨E, Δ⟩ / ‖Δ‖²        error = ‖E‖ / ‖Δ‖
    held of a part = 1 + ⟨E, Δᵢ⟩ / ‖Δᵢ‖²
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loralathe.errors import Message, option
from loralathe.language import LinearExpression
from loralathe.rounded import percentage

ENOUGH = 0.9
"""What holds less of something is warned of."""

CANCELLED = 1e-12
"""‖Δ‖² this small beside the parts' is what fp32 leaves of parts that cancel."""

EXACT = frozenset({"F32", "F64"})
"""Dtypes that nothing finer can take the place of."""


@dataclass(frozen=True, slots=True)
class Share:
    """Sums over one part, or over all that is added: ‖Δᵢ‖², ⟨E, Δᵢ⟩, and ⟨E, Δᵢ⟩ if the file were fp16."""

    energy: float
    loss: float
    loss_in_fp16: float


@dataclass(frozen=True, slots=True)
class SliceSums:
    """One slice of a saved tensor. lost: ‖E‖²;  whole: of Δ;  parts: of those that reach the slice."""

    block: str
    dtype: str
    lost: float
    whole: Share
    parts: Mapping[str, Share]


@dataclass(frozen=True, slots=True)
class Held:
    """What the file, or one block of it, holds of what is added; None where nothing is.

    parts: held of each adapter and difference, by name.
    """

    block: str
    held: float | None
    error: float | None
    parts: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class RoundingReport:
    """Over the file, and for the block that holds least. better: a dtype that would hold what is lost."""

    total: Held
    worst: Held | None
    better: str | None = None

    @property
    def is_lossy(self) -> bool:
        """Whether the file, a part of what is added, or a block is held by less than `ENOUGH`."""
        shares = (self.total.held, *self.total.parts.values(), self.worst.held if self.worst else None)
        return any(share is not None and share < ENOUGH for share in shares)


@dataclass
class HeldSums:
    """The slices of one output as they are written, from any thread. parts: all that its formula adds."""

    parts: Mapping[str, LinearExpression]
    slices: list[SliceSums] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, sums: SliceSums) -> None:
        with self._lock:
            self.slices.append(sums)

    def report(self) -> RoundingReport:
        found = self._report()
        if not found.is_lossy or all(sums.dtype in EXACT for sums in self.slices):
            return found
        return replace(found, better="fp32" if self._report(in_fp16=True).is_lossy else "fp16")

    def _report(self, *, in_fp16: bool = False) -> RoundingReport:
        blocks: dict[str, list[SliceSums]] = {}
        for sums in self.slices:
            blocks.setdefault(sums.block, []).append(sums)
        each = [
            _held(block, blocks[block], self._reaching(blocks[block]), in_fp16) for block in sorted(blocks)
        ]
        changed = [found for found in each if found.held is not None]
        worst = min(changed, key=lambda found: (found.held, -(found.error or 0.0)), default=None)
        return RoundingReport(_held("total", self.slices, self.parts, in_fp16), worst)

    def _reaching(self, slices: Sequence[SliceSums]) -> list[str]:
        return [name for name in self.parts if any(name in sums.parts for sums in slices)]


def _held(block: str, slices: Sequence[SliceSums], names: Iterable[str], in_fp16: bool) -> Held:
    """Sums are rounded once, whatever their order: the same on any number of threads."""
    parts = {name: [sums.parts[name] for sums in slices if name in sums.parts] for name in names}
    whole = [sums.whole for sums in slices]
    energy = math.fsum(share.energy for share in whole)
    largest = math.fsum(share.energy for found in parts.values() for share in found)
    shares = {name: _share(found, in_fp16) for name, found in parts.items()}
    if energy <= CANCELLED * largest:
        return Held(block, None, None, shares)
    lost = math.fsum(sums.lost for sums in slices)
    return Held(block, _share(whole, in_fp16), math.sqrt(lost / energy), shares)


def _share(found: Sequence[Share], in_fp16: bool) -> float | None:
    energy = math.fsum(share.energy for share in found)
    loss = math.fsum(share.loss_in_fp16 if in_fp16 else share.loss for share in found)
    return 1.0 + loss / energy if energy > 0.0 else None


def rounding_warning(file: str, report: RoundingReport) -> Message | None:
    """What is lost to rounding and which dtype holds it; None where next to nothing is."""
    if not report.is_lossy:
        return None
    total, worst = report.total, report.worst
    least = min(((share, name) for name, share in total.parts.items() if share is not None), default=None)
    if total.held is not None and total.held < ENOUGH:
        what = f"{percentage(total.held, 1)} of what is added"
    elif least is not None and least[0] < ENOUGH:
        what = f"{percentage(least[0], 1)} of {least[1]}"
    else:
        assert worst is not None, "the file as a whole holds enough"
        what = f"{percentage(worst.held or 0.0, 1)} of what is added in {worst.block}"
    if report.better is None:
        return Message(f"{file} holds {what}: it is too little beside the weights for any dtype")
    return Message(
        f"{file} holds {what}; the rest is lost to rounding: {option('dtype', report.better)} holds it"
    )
