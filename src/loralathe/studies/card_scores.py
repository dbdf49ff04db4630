"""What an identity card says of a study's pictures: likeness and bleed of each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loralathe.likeness.card import BATCH, Card
from loralathe.likeness.embedder import Vector, cosine
from loralathe.progress import Progress
from loralathe.studies.plan import GridPlan, Position
from loralathe.studies.store import CellStore

LIKENESS, BLEED = "likeness", "bleed"
"""Names of the scores."""


def look(card: Card, keys: Sequence[str], store: CellStore, progress: Progress) -> dict[str, Vector | None]:
    """Who is in each picture; a few of them are in memory at a time."""
    found: dict[str, Vector | None] = {}
    with progress.task("likeness", total=len(keys), unit="pictures") as task:
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            found |= zip(some, card.vectors([store.open(key) for key in some]), strict=True)
            task.advance(len(some))
    return found


def card_scores(
    plan: GridPlan, card: Card, vectors: Mapping[str, Vector | None]
) -> dict[Position, dict[str, float | None]]:
    """Likeness of each cell, and bleed where there are pictures for it."""
    wanted = card.wanted
    found: dict[Position, dict[str, float | None]] = {}
    for cell in plan.cells:
        found[cell.position] = {LIKENESS: _cosine(vectors[cell.key], wanted)}
        if (pair := plan.beside.pairs.get(cell.position)) is not None:
            alike = _cosine(vectors[pair[0]], vectors[pair[1]])
            found[cell.position][BLEED] = None if alike is None else 1 - alike
    return found


def _cosine(a: Vector | None, b: Vector | None) -> float | None:
    return None if a is None or b is None else cosine(a, b)
