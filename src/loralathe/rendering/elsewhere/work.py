"""What a pool gives out and gets back: batches of requests, and what a worker reports of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from loralathe.progress import Event
from loralathe.rendering.prepare import Prepared, in_order_of_work
from loralathe.rendering.request import ImageRequest

if TYPE_CHECKING:
    from PIL.Image import Image

Model = tuple[str, str | None]
"""Checkpoint and VAE, by which a worker knows whether it has loaded what a batch needs."""


class LostError(Exception):
    """A worker went away, or failed at this batch; another try may succeed. The text says what happened."""


@dataclass(frozen=True)
class Batch:
    """Requests that share a loaded model, by their places among all; `held`: weights in memory → their file.

    lost_at: names of the places whose workers were lost while they drew them, one for each try.
    """

    model: Model
    requests: Mapping[int, ImageRequest]
    held: Mapping[str, Path] = field(default_factory=dict)
    lost_at: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Where a worker says what it does, from its own thread.

    picture: (place of the request, the picture);  steps: how many more are done
    event:   messages, and tasks such as the loading of a model
    """

    picture: Callable[[int, Image], None]
    steps: Callable[[int], None]
    event: Callable[[Event], None]


class Worker(Protocol):
    """Whatever draws a batch at a time: a process, a program that is asked over HTTP, an actor of a cluster.

    `draw` is called from one thread; `stop` and `close` may come from another.
    """

    def draw(self, batch: Batch, report: Report) -> None:
        """Draw all. Raises LostError for what may succeed at another try, LatheError for what cannot."""
        ...

    def forget(self) -> None:
        """Let go of the loaded models."""
        ...

    def stop(self) -> None:
        """End what `draw` does, soon: it raises LostError then, and the worker can be asked again."""
        ...

    def close(self) -> None:
        """Be gone."""
        ...


def batches_of(prepared: Sequence[Prepared], size: Callable[[Prepared], int]) -> list[Batch]:
    """All requests in the batches in which one process would draw them, so that pictures are the same.

    size: how many requests that are like this one a batch holds.
    """
    found: list[Batch] = []
    for model, groups in in_order_of_work(prepared):
        for group in groups:
            step = max(1, size(group[0]))
            for start in range(0, len(group), step):
                found.append(Batch(model, {one.index: one.request for one in group[start : start + step]}))
    return found


def next_batch(
    waiting: Sequence[Batch], loaded: Model | None, others: Sequence[Model | None]
) -> Batch | None:
    """Which of the waiting batches a worker takes: of the model that it has, else one that no other has."""
    for wanted in (lambda batch: batch.model == loaded, lambda batch: batch.model not in others):
        for batch in waiting:
            if wanted(batch):
                return batch
    return waiting[0] if waiting else None
