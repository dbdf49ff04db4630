"""What an identity card says of a study's pictures: likeness and bleed of each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loralathe.likeness.card import BATCH, Card
from loralathe.likeness.vectors import Vector, cosine, distance
from loralathe.progress import Progress
from loralathe.studies.plan import GridPlan, Position
from loralathe.studies.store import CellStore
from loralathe.studies.vectors_file import file_of, read_vectors, stamp, write_vectors

LIKENESS, BLEED = "likeness", "bleed"
"""Names of the scores."""


def look(card: Card, keys: Sequence[str], store: CellStore, progress: Progress) -> dict[str, Vector | None]:
    """Who is in each picture; a few of them are in memory at a time, and none is looked at twice."""
    stamps = {key: stamp(store.picture(key)) for key in keys}
    path = file_of(store.folder, card)
    found = read_vectors(path, stamps)
    missing = [key for key in stamps if key not in found]
    if not missing:
        return found
    try:
        with progress.task("likeness", total=len(missing), unit="pictures") as task:
            for start in range(0, len(missing), BATCH):
                some = missing[start : start + BATCH]
                found |= zip(some, card.vectors([store.open(key) for key in some]), strict=True)
                task.advance(len(some))
    finally:
        write_vectors(path, found, stamps)
    return found


def card_scores(
    plan: GridPlan, card: Card, vectors: Mapping[str, Vector | None]
) -> dict[Position, dict[str, float | None]]:
    """Likeness of each cell, and bleed where there are pictures for it."""
    likeness = likeness_of(card, vectors)
    found: dict[Position, dict[str, float | None]] = {}
    for cell in plan.cells:
        found[cell.position] = {LIKENESS: likeness[cell.key]}
        if (pair := plan.beside.pairs.get(cell.position)) is not None:
            found[cell.position][BLEED] = bleed(vectors[pair[0]], vectors[pair[1]])
    return found


def likeness_of(card: Card, vectors: Mapping[str, Vector | None]) -> dict[str, float | None]:
    """The likeness of each picture whose vector is known."""
    wanted = card.wanted
    return {key: _cosine(vector, wanted) for key, vector in vectors.items()}


def bleed(base: Vector | None, adapted: Vector | None) -> float | None:
    """1 − cosine; 1 where the base's person is gone, None where the base itself shows nobody."""
    if base is None:
        return None
    return 1.0 if adapted is None else distance(base, adapted)


def _cosine(a: Vector | None, b: Vector | None) -> float | None:
    return None if a is None or b is None else cosine(a, b)
