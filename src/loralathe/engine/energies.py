"""What an extraction kept and lost of a difference, module by module and in sums."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

CONVOLUTION, ENCODER, UNHELD = "convolution", "text encoder", "no LoRA"
"""Reasons why nothing of a tensor was written: not asked for, switched off, in no LoRA at all."""
OUTSIDE = frozenset({CONVOLUTION, ENCODER, UNHELD})


@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """One tensor or module of an extraction; energies are squared Frobenius norms.

    energy: of the whole delta;  kept: in the factors;  noise: expected from input rounding alone;
    rank:   0 where nothing was written;  reason: why the rank is what it is;  nbytes: of the factors;
    weights: of the first model's tensor, 0 where none was read.
    """

    name: str
    block: str
    energy: float
    kept: float
    noise: float
    rank: int
    reason: str
    nbytes: int = 0
    weights: float = 0.0


@dataclass(frozen=True, slots=True)
class BlockEnergy:
    """Sums over a block. kept + truncated + noise + outside = energy.

    truncated: beyond the rank, above what rounding explains;  noise: explained by rounding;
    outside:   in tensors that the LoRA leaves out, of which
    convolutions, encoders: could have been asked for; the rest (biases, norms, embeddings) is in no LoRA.
    weights:   of the first model, in the layers that differ and that a LoRA could hold.
    """

    block: str
    energy: float
    kept: float
    truncated: float
    noise: float
    outside: float
    modules: int
    nbytes: int = 0
    convolutions: float = 0.0
    encoders: float = 0.0
    weights: float = 0.0

    @property
    def unheld(self) -> float:
        """What no LoRA holds."""
        return max(self.outside - self.convolutions - self.encoders, 0.0)

    @property
    def relative(self) -> float | None:
        """‖difference‖ / ‖first model‖ in the layers of `weights`; None where no model was read.

        Without norms, which are near 1 in every model, trained alike or not.
        """
        return math.sqrt((self.energy - self.unheld) / self.weights) if self.weights > 0 else None


def block_energy(name: str, records: Iterable[ModuleRecord]) -> BlockEnergy:
    """The sums of some records."""
    records = list(records)
    kept = math.fsum(record.kept for record in records)
    outside = _energy(records, OUTSIDE)
    inside = [record for record in records if record.reason not in OUTSIDE]
    noise = math.fsum(min(record.noise, max(record.energy - record.kept, 0.0)) for record in inside)
    energy = math.fsum(record.energy for record in records)
    return BlockEnergy(
        name,
        energy,
        kept,
        truncated=max(energy - kept - outside - noise, 0.0),
        noise=noise,
        outside=outside,
        modules=sum(1 for record in records if record.rank),
        nbytes=sum(record.nbytes for record in records),
        convolutions=_energy(records, {CONVOLUTION}),
        encoders=_energy(records, {ENCODER}),
        weights=math.fsum(
            record.weights for record in records if record.energy > 0 and record.reason != UNHELD
        ),
    )


def _energy(records: Iterable[ModuleRecord], reasons: frozenset[str] | set[str]) -> float:
    return math.fsum(record.energy for record in records if record.reason in reasons)
