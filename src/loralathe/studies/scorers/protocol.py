"""What a scorer is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from PIL.Image import Image

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, eq=False)
class Scored:
    """One picture to score: itself, the study's reference picture, and the prompt it was made from."""

    image: Image
    reference: Image | None
    prompt: str


class Scorer(Protocol):
    """One number for each picture; None where it does not apply (no face, other size, no reference)."""

    @property
    def name(self) -> str:
        """Column name, shown as it is."""

    @property
    def better(self) -> Better:
        """Which way is good, for colours; differences are neither."""

    def check(self) -> None:
        """Raise InputError or MachineError now for what scoring would lack later: hours may lie between."""

    def score(self, items: Sequence[Scored]) -> list[float | None]: ...


BATCH = 16


def score_all(
    scorers: Sequence[Scorer], items: Iterator[Scored], on_batch: Callable[[int], None]
) -> list[dict[str, float | None]]:
    """Scores of every item, a few pictures in memory at a time; `on_batch` hears how many are done."""
    rows: list[dict[str, float | None]] = []
    batch: list[Scored] = []

    def flush() -> None:
        columns = {scorer.name: scorer.score(batch) for scorer in scorers}
        rows.extend({name: column[i] for name, column in columns.items()} for i in range(len(batch)))
        on_batch(len(batch))
        batch.clear()

    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            flush()
    if batch:
        flush()
    return rows
