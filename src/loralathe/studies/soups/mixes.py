"""Mixes of epochs as pictures: several LoRAs at fractions of a strength add up to their average exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context
from loralathe.studies.plan import Identify, Job, finished, job_of
from loralathe.studies.tuning.space import bare_job

Mix = tuple[float, ...]
"""What each epoch weighs in an average; their sum is 1. `WRITTEN` stands for the file that was made."""

WRITTEN: Mix = ()


def single(count: int, at: int) -> Mix:
    """One epoch alone."""
    return tuple(float(i == at) for i in range(count))


def equal(count: int, members: Sequence[int]) -> Mix:
    """The plain average of some epochs."""
    return tuple(1 / len(members) if i in members else 0.0 for i in range(count))


@dataclass(frozen=True)
class Mixes:
    """All averages of some epochs.

    request: what all pictures have in common, other LoRAs included.  epochs: their files.
    strength: of the average.  bare: the checkpoint alone.  written: the file that `WRITTEN` stands for.
    """

    request: ImageRequest
    epochs: tuple[str, ...]
    strength: float
    context: Context
    identify: Identify
    bare: str
    written: str = ""

    def job(self, point: Mix, prompt: str, seed: int) -> Job:
        """One picture of a mix."""
        parts = zip(self.epochs, point, strict=True) if point else [(self.written, 1.0)]
        uses = tuple(
            AdapterUse(file, self.strength * weight, self.strength * weight)
            for file, weight in parts
            if weight
        )
        request = replace(self.request, prompt=prompt, seed=seed, adapters=(*self.request.adapters, *uses))
        return job_of(finished(CellBuilder(request), (), (), self.context), self.context, self.identify)

    def bare_job(self, prompt: str, seed: int) -> Job:
        """The same picture of the base alone."""
        return bare_job(self.request, self.bare, prompt, seed, self.context, self.identify)
