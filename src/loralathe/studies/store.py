"""A study's folder: finished cells, seeds that were drawn, and rendering the cells that are missing.

A cell is `cells/<key>.png` and `cells/<key>.json`. The picture is renamed into place first and its
description last, and a cell counts when both are there: a killed study loses at most one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from PIL import Image

from loralathe.errors import InputError, MachineError
from loralathe.progress import Progress
from loralathe.rendering.png import DAMAGE, png_bytes, read_picture
from loralathe.rendering.request import MAX_SEED, ImageRequest, Renderer
from loralathe.studies.plan import Job, describe_variables
from loralathe.studies.study_file import json_file
from loralathe.tensorfiles import read_text, remove_stale_in, write_whole


@dataclass(frozen=True)
class CellStore:
    """The pictures of a study's folder."""

    folder: Path

    def picture(self, key: str) -> Path:
        return self.folder / "cells" / f"{key}.png"

    def description(self, key: str) -> Path:
        return self.folder / "cells" / f"{key}.json"

    def has(self, key: str) -> bool:
        return self.description(key).is_file() and self.picture(key).is_file()

    def put(self, job: Job, image: Image.Image) -> None:
        fields = {"key": job.key, "request": job.request.to_json(), "variables": dict(job.variables)}
        write_whole(self.picture(job.key), png_bytes(image))
        write_whole(self.description(job.key), json_file(fields))

    def open(self, key: str) -> Image.Image:
        """The picture in RGB, its text chunks in `info`. Raises MachineError when it is damaged."""
        try:
            return read_picture(self.picture(key), ("PNG",))
        except DAMAGE as error:
            raise MachineError(
                "a finished cell cannot be read", where=str(self.picture(key)), fix="delete it and run again"
            ) from error

    def forget(self, keys: Iterable[str]) -> None:
        """Make these cells missing, so that they are rendered again."""
        for key in keys:
            self.description(key).unlink(missing_ok=True)
            self.picture(key).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what writers that were killed left behind."""
        for folder in (self.folder, self.folder / "cells"):
            remove_stale_in(folder)


Evaluate = Callable[[Mapping[str, float]], str]
OnCell = Callable[[str, Image.Image], None]


def render_missing(
    jobs: Sequence[Job],
    store: CellStore,
    renderer: Renderer,
    progress: Progress,
    *,
    evaluate: Evaluate | None = None,
    on_cell: OnCell = lambda key, image: None,
) -> int:
    """Render the jobs that the store lacks; returns how many that were.

    One call of the renderer for all jobs of the same recipe variables, so that it can batch them as it likes.
    Finished pictures are on disk whatever happens afterwards.
    """
    missing = [job for job in jobs if not store.has(job.key)]
    if not missing:
        return 0
    store.sweep()
    with progress.task("pictures", total=len(missing), unit="pictures") as task:
        for variables, same in groupby(missing, key=lambda job: job.variables):
            group = list(same)
            handle = None if evaluate is None else _evaluate(evaluate, variables, progress)
            requests = [replace(job.request, checkpoint=handle or job.request.checkpoint) for job in group]

            def receive(index: int, image: Image.Image, group: list[Job] = group) -> None:
                job = group[index]
                store.put(job, image)
                on_cell(job.key, image)
                task.advance()

            renderer.render(requests, receive)
    return len(missing)


def render_alone(
    jobs: Sequence[Job],
    store: CellStore,
    renderer: Renderer,
    progress: Progress,
    *,
    drawn: Callable[[Job], ImageRequest],
    on_cell: OnCell = lambda key, image: None,
) -> int:
    """Render the jobs that the store lacks one at a time, each as `drawn` says; returns how many that were.

    Pictures that share a batch differ from those drawn one at a time in a few roundings.
    """
    missing = [job for job in jobs if not store.has(job.key)]
    if not missing:
        return 0
    store.sweep()
    with progress.task("pictures", total=len(missing), unit="pictures") as task:
        for job in missing:

            def receive(_: int, image: Image.Image, job: Job = job) -> None:
                store.put(job, image)
                on_cell(job.key, image)
                task.advance()

            renderer.render([drawn(job)], receive)
    return len(missing)


def _evaluate(evaluate: Evaluate, variables: tuple[tuple[str, float], ...], progress: Progress) -> str:
    progress.message(f"recipe: {describe_variables(variables)}")
    return evaluate(dict(variables))


def _random_seed() -> int:
    return secrets.randbelow(2**32 - 1)


class SeedBook:
    """The n-th seed drawn in a folder is the same in every run; new ones are added to `seeds.json`."""

    def __init__(self, folder: Path, draw: Callable[[], int] = _random_seed) -> None:
        self._path = folder / "seeds.json"
        self._draw = draw
        self._seeds: list[int] = self._read()
        self._used = 0

    def _read(self) -> list[int]:
        try:
            found = json.loads(read_text(self._path, "JSON file"))
        except (InputError, ValueError, RecursionError):  # none yet, or not ours: new seeds are drawn
            return []
        seeds = found if isinstance(found, list) else []
        return [seed for seed in seeds if type(seed) is int and 0 <= seed <= MAX_SEED]

    def next(self) -> int:
        if self._used == len(self._seeds):
            self._seeds.append(self._draw())
            write_whole(self._path, json.dumps(self._seeds).encode())
        self._used += 1
        return self._seeds[self._used - 1]
