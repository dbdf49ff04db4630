"""What a cure chooses among: the LoRA as it is, and copies of it whose parts are damped by some levels."""

from __future__ import annotations


from dataclasses import dataclass, replace
from pathlib import Path

from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context
from loralathe.studies.plan import Identify, Job, finished, job_of
from loralathe.studies.tuning.space import bare_job

Level = int
"""Place of an amount of damping; 0 is none, the LoRA as it is."""


@dataclass(frozen=True)
class Damped:
    """The candidates.

    request: what all pictures have in common, other LoRAs included.  lora: as it is.
    files: the copies, from level 1 on; known when they are made.  bare: the checkpoint alone.
    """

    request: ImageRequest
    lora: str
    strength: float
    files: tuple[str, ...]
    context: Context
    identify: Identify
    bare: str

    def job(self, point: Level, prompt: str, seed: int) -> Job:
        """One picture of a candidate."""
        file = self.files[point - 1] if point else self.lora
        use = AdapterUse(file, self.strength, self.strength)
        request = replace(self.request, prompt=prompt, seed=seed, adapters=(*self.request.adapters, use))
        return job_of(finished(CellBuilder(request), (), (), self.context), self.context, self.identify)

    def bare_job(self, prompt: str, seed: int) -> Job:
        """The same picture of the base alone."""
        return bare_job(self.request, self.bare, prompt, seed, self.context, self.identify)
