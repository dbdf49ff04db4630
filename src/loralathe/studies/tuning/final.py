"""The end of a search: its pictures are those of the files that its recipes make, pixel for pixel.

While a search runs, LoRAs act beside the model and pictures share batches, which is quick. A file is rounded
to the model's own dtype, and a batch adds its sums in another order: a few values then differ by 1 of 255. So
the last pictures are drawn from the models themselves, one at a time, and are cells of their own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

from loralathe.rendering.request import ImageRequest
from loralathe.studies.context import Context
from loralathe.studies.plan import KEY_LENGTH, Job
from loralathe.studies.tuning.measure import Measurer
from loralathe.studies.tuning.space import Point, Space


class Models(Protocol):
    """What makes the models of jobs."""

    def whole(self, job: Job) -> bool:
        """Whether a file holds all that acts in the picture."""

    def drawn(self, job: Job) -> ImageRequest:
        """The request that draws the job with the model that its recipe makes."""


@dataclass(frozen=True)
class Finals:
    """Candidates as files: the same pictures under keys of their own."""

    space: Space
    models: Models

    @property
    def context(self) -> Context:
        return self.space.context

    @property
    def bare(self) -> str:
        return self.space.bare

    def job(self, point: Point, prompt: str, seed: int) -> Job:
        return _final(self.space.job(point, prompt, seed))

    def bare_job(self, prompt: str, seed: int) -> Job:
        return _final(self.space.bare_job(prompt, seed))

    def drawn(self, job: Job) -> ImageRequest:
        if self.context.recipe is not None and job.request.checkpoint == self.bare:
            return job.request
        return self.models.drawn(job)


def finals_of(measurer: Measurer[Point], space: Space, models: Models | None) -> Measurer[Point]:
    """What measures candidates as files, and counts its pictures among the search's. Without `models`, as
    where another program draws, it is the search's own.
    """
    if models is None:
        return measurer
    finals = Finals(space, models)
    return replace(measurer, space=finals, drawn=finals.drawn, rendered=0, _rows={})


def _final(job: Job) -> Job:
    """The same picture, of the model itself: another cell."""
    key = hashlib.sha256(b"final:" + job.key.encode()).hexdigest()[:KEY_LENGTH]
    return replace(job, key=key)
