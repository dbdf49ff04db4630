"""Rendering what is missing: jobs in order, every picture stored the moment it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from PIL import Image

from loralathe.progress import Progress
from loralathe.rendering.request import Renderer
from loralathe.studies.plan import Job, describe_variables
from loralathe.studies.store import CellStore

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


def _evaluate(evaluate: Evaluate, variables: tuple[tuple[str, float], ...], progress: Progress) -> str:
    progress.message(f"recipe: {describe_variables(variables)}")
    return evaluate(dict(variables))
