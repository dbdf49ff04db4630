"""Pictures and numbers of candidates, scene by scene; each picture is rendered once in the life of a
folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from PIL.Image import Image

from loralathe.progress import Progress
from loralathe.rendering.request import ImageRequest, Renderer
from loralathe.studies.context import Context
from loralathe.studies.plan import Job
from loralathe.studies.store import CellStore, render_alone, render_missing
from loralathe.studies.tuning.goals import Goal, Shot
from loralathe.studies.tuning.racing import Values
from loralathe.studies.tuning.space import Scene
from loralathe.tensorfiles import write_whole

BATCH = 16
"""Shots in memory at a time."""


P = TypeVar("P")
"""A candidate: whatever names one."""
P_contra = TypeVar("P_contra", contravariant=True)


class Candidates(Protocol[P_contra]):
    """What is measured: the pictures of each candidate, and those of the base alone."""

    @property
    def context(self) -> Context: ...
    @property
    def bare(self) -> str: ...
    def job(self, point: P_contra, prompt: str, seed: int) -> Job: ...
    def bare_job(self, prompt: str, seed: int) -> Job: ...


@dataclass
class Measurer(Generic[P]):
    """Renders and scores. `reuse`: folders of other studies whose pictures are taken where keys are equal.

    looked_at: keys of all pictures that the search has asked for;  taken: those of them from `reuse`.
    drawn: how a job is drawn where each picture is drawn by itself; None: many at a time.
    """

    space: Candidates[P]
    scenes: Sequence[Scene]
    goals: tuple[Goal, ...]
    store: CellStore
    renderer: Renderer
    progress: Progress
    reuse: tuple[Path, ...] = ()
    rendered: int = 0
    looked_at: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    drawn: Callable[[Job], ImageRequest] | None = None
    _rows: dict[P, dict[int, tuple[float, ...]]] = field(default_factory=dict)

    @property
    def spent(self) -> int:
        """Pictures that this study had to make, in this run or an earlier one."""
        return len(self.looked_at - self.taken)

    @property
    def needs_plain(self) -> bool:
        return any(goal.plain for goal in self.goals)

    @property
    def pictures_of_scene(self) -> int:
        """How many pictures one candidate takes in a scene, those of the base not counted."""
        return 2 if self.needs_plain else 1

    def jobs(self, point: P, scene: int) -> list[Job]:
        """All pictures of a candidate in a scene, the base's last."""
        one = self.scenes[scene]
        found = [self.space.job(point, one.prompt, one.seed)]
        if self.needs_plain:
            found.append(self.space.job(point, one.plain, one.seed))
            found.append(self.space.bare_job(one.plain, one.seed))
        return found

    def measure(self, wanted: Mapping[P, Sequence[int]]) -> None:
        """Make sure that these candidates have numbers in these scenes."""
        missing = [
            (point, scene)
            for point, scenes in wanted.items()
            for scene in scenes
            if scene not in self._rows.get(point, {})
        ]
        if not missing:
            return
        jobs = {one: self.jobs(*one) for one in missing}
        self._render([job for found in jobs.values() for job in found])
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            shots = [self._shot(one, jobs[one]) for one in part]
            columns = [goal.measure(shots) for goal in self.goals]
            for i, (point, scene) in enumerate(part):
                row = tuple(
                    goal.oriented(column[i]) for goal, column in zip(self.goals, columns, strict=True)
                )
                self._rows.setdefault(point, {})[scene] = row

    def draw(self, points: Sequence[P], scene: int) -> None:
        """Make sure that the pictures with the trigger word are there; nothing is measured."""
        one = self.scenes[scene]
        self._render([self.space.job(point, one.prompt, one.seed) for point in points])

    def table(self, point: P, scenes: Sequence[int] | None = None) -> Values:
        """(scenes, goals), larger is better: of all scenes that it has from the first on, or of these."""
        rows = self._rows.get(point, {})
        if scenes is None:
            count = next(i for i in range(len(self.scenes) + 1) if i not in rows)
            scenes = range(count)
        return np.array([rows[scene] for scene in scenes], dtype=np.float64).reshape(-1, len(self.goals))

    def key(self, point: P, scene: int) -> str:
        """The picture with the trigger word."""
        one = self.scenes[scene]
        return self.space.job(point, one.prompt, one.seed).key

    def _render(self, jobs: Sequence[Job]) -> None:
        distinct = list({job.key: job for job in jobs}.values())
        for job in distinct:
            if not self.store.has(job.key):
                self._take(job.key)
        self.looked_at.update(job.key for job in distinct)
        if self.drawn is not None:
            self.rendered += render_alone(
                distinct, self.store, self.renderer, self.progress, drawn=self.drawn, on_cell=self._tell
            )
            return
        recipe = self.space.context.recipe
        bare = [job for job in distinct if recipe is not None and job.request.checkpoint == self.space.bare]
        rest = [job for job in distinct if job not in bare]
        evaluate = None if recipe is None else recipe.evaluate
        for some, how in ((rest, evaluate), (bare, None)):
            self.rendered += render_missing(
                some, self.store, self.renderer, self.progress, evaluate=how, on_cell=self._tell
            )

    def _tell(self, key: str, image: Image) -> None:
        count = len(self.looked_at)
        self.progress.cell("tune", count - 1, count, str(self.store.picture(key)), ())

    def _take(self, key: str) -> None:
        """A picture that another study has."""
        for folder in self.reuse:
            other = CellStore(folder)
            if other.has(key):
                write_whole(self.store.picture(key), other.picture(key).read_bytes())
                write_whole(self.store.description(key), other.description(key).read_bytes())
                self.taken.add(key)
                return

    def _shot(self, one: tuple[P, int], jobs: Sequence[Job]) -> Shot:
        point, scene = one
        images = [self.store.open(job.key) for job in jobs]
        shot = Shot(self.scenes[scene].prompt, images[0])
        if self.needs_plain:
            shot = replace(shot, plain=images[1], bare=images[2])
        if scene and any(goal.back for goal in self.goals):
            before = self.key(point, scene - 1)
            if self.store.has(before):
                shot = replace(shot, previous=self.store.open(before))
        return shot
