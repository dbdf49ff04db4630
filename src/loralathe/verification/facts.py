"""What a verification found: plain data for people and for --json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loralathe.errors import InputError


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How much is checked.

    share, least: of the tensors of each block so large a share, but never fewer than `least`;
    everything:   every tensor;   seed: which ones otherwise.
    exact:        compare with this version's own result, too, byte for byte. Extractions on another
                  kind of processor or with another torch differ in their last digits.
    """

    share: float = 0.02
    least: int = 2
    everything: bool = False
    seed: int = 0
    exact: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise InputError(f"a share of {self.share:g} cannot be a sample", fix="give a number from 0 to 1")
        if self.least < 0 or (self.least == 0 and self.share == 0.0 and not self.everything):
            raise InputError("a sample of nothing checks nothing", fix="give at least one tensor a block")


@dataclass(frozen=True, slots=True)
class Added:
    """Sums over what the recipe adds to the first checkpoint, and what the file lacks of it.

    energy: ‖Δ‖²;  loss: ⟨E, Δ⟩;  lost: ‖E‖², where E is what the file has minus the exact value.
    """

    energy: float = 0.0
    loss: float = 0.0
    lost: float = 0.0

    @property
    def held(self) -> float | None:
        return 1.0 + self.loss / self.energy if self.energy > 0.0 else None

    @property
    def error(self) -> float | None:
        return math.sqrt(self.lost / self.energy) if self.energy > 0.0 else None


def summed(parts: Sequence[Added]) -> Added:
    return Added(
        math.fsum(part.energy for part in parts),
        math.fsum(part.loss for part in parts),
        math.fsum(part.lost for part in parts),
    )


NOTHING_ADDED = Added()


@dataclass(frozen=True, slots=True)
class TensorCheck:
    """One tensor of a checkpoint, or one module of an adapter.

    kind:      copied, computed, extracted; or replayed, where only the engine itself can compute it.
    ulps:      largest error in units of the last place (of the dtype, or of the fp32 sum if that is coarser),
               None where nothing is rounded or computed;
    excess:    of an extraction: how much its error exceeds the least possible at its rank, 0.01 is 1 %;
    differing: elements whose bytes are not those that this version computes;
    problems:  what is wrong, in words; empty where all is well;
    added:     what is added, and what rounding leaves of it.
    """

    name: str
    block: str
    kind: str
    elements: int
    ulps: float | None = None
    excess: float | None = None
    differing: int = 0
    problems: tuple[str, ...] = ()
    added: Added = NOTHING_ADDED


@dataclass(frozen=True, slots=True)
class BlockCheck:
    """The checks of one block. tensors: that it has;  checked: of them;  failed: of those.

    held, error: what the tensors checked hold of what is added, None where nothing is (docs/semantics.md §5).
    """

    block: str
    tensors: int
    checked: int
    copied: int
    ulps: float | None
    excess: float | None
    differing: int
    failed: int
    held: float | None = None
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as the record says. place: a tensor, a metadata key, or the header."""

    place: str
    what: str


@dataclass(frozen=True)
class Verification:
    """The whole verification; `ok` when nothing was found.

    kind:    checkpoint or adapter;  version: of loralathe that made it;  formula: the step that was saved.
    inputs:  name → file;  by_name: those that could be told by their names alone, without a hash.
    blocks:  in the order of the model;  total: all of them.
    notes:   what could not be checked, and why.
    """

    path: Path
    kind: str
    version: str
    save: str
    formula: str
    inputs: Mapping[str, Path]
    by_name: tuple[str, ...]
    exact: bool
    blocks: tuple[BlockCheck, ...]
    total: BlockCheck
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.findings


def block_check(label: str, tensors: int, checks: Sequence[TensorCheck]) -> BlockCheck:
    """The sums of one block, or of everything."""
    added = summed([check.added for check in checks])
    return BlockCheck(
        block=label,
        tensors=tensors,
        checked=len(checks),
        copied=sum(check.kind == "copied" for check in checks),
        ulps=max((check.ulps for check in checks if check.ulps is not None), default=None),
        excess=max((check.excess for check in checks if check.excess is not None), default=None),
        differing=sum(check.differing for check in checks),
        failed=sum(bool(check.problems) for check in checks),
        held=added.held,
        error=added.error,
    )
