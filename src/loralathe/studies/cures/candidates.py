"""What a cure chooses among: the LoRA as it is, and copies of it whose parts are damped by some levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from loralathe.adapters.damped import write_replaced
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context
from loralathe.studies.cures.watch import AS_IS, Copies, Point
from loralathe.studies.plan import Identify, Job, finished, job_of
from loralathe.studies.tuning.space import bare_job


@dataclass(frozen=True)
class Candidates:
    """All candidates.

    request: what all pictures have in common, other LoRAs included.  lora: as it is.  bare: the checkpoint.
    file_of: the file of a candidate that is damped.
    """

    request: ImageRequest
    lora: str
    strength: float
    file_of: Callable[[Point], str]
    context: Context
    identify: Identify
    bare: str

    def job(self, point: Point, prompt: str, seed: int) -> Job:
        """One picture of a candidate."""
        file = self.lora if point == AS_IS else self.file_of(point)
        use = AdapterUse(file, self.strength, self.strength)
        request = replace(self.request, prompt=prompt, seed=seed, adapters=(*self.request.adapters, use))
        return job_of(finished(CellBuilder(request), (), (), self.context), self.context, self.identify)

    def bare_job(self, prompt: str, seed: int) -> Job:
        """The same picture of the base alone."""
        return bare_job(self.request, self.bare, prompt, seed, self.context, self.identify)


@dataclass(frozen=True)
class Files:
    """Damped files of a folder, written when they are first asked for: two with the same levels are one."""

    folder: Path
    lora: Path
    copies: Copies

    def __call__(self, point: Point) -> str:
        name = self.copies.files[0].stem.rpartition("-")[0]
        path = self.folder / f"{name}-at-{'-'.join(map(str, point))}.safetensors"
        if not path.is_file():
            write_replaced(self.lora, path, self.copies.tensors(point), {})
        return str(path)
