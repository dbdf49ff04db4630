"""Cells that differ by their seed only, taken together: means with intervals, and differences to the
reference.

A difference is taken seed by seed, so that what a seed does to both cells drops out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean

from loralathe.likeness.intervals import Estimate, estimate
from loralathe.likeness.vectors import Vector, distance
from loralathe.rounded import signed_points
from loralathe.studies.plan import Cell, GridPlan, Position
from loralathe.studies.results import CellResult
from loralathe.studies.study_file import csv_file, csv_number


@dataclass(frozen=True)
class OverSeeds:
    """What was measured on cells that differ by seed only.

    labels: title of each axis along which they do not differ → their value there.
    cells, seeds: which ones.  scores: name → mean and 95 % interval over the seeds that have a number.
    against: name → mean and interval of the differences to the reference, of seeds that both have; none for
        the reference itself.
    diversity: 1 − cosine of who is in two of the pictures, the mean of all pairs; None without a card.
    """

    labels: Mapping[str, str]
    cells: tuple[Position, ...]
    seeds: tuple[int, ...]
    scores: Mapping[str, Estimate]
    against: Mapping[str, Estimate]
    diversity: float | None


def seed_groups(plan: GridPlan) -> tuple[tuple[Cell, ...], ...]:
    """Cells that differ by seed only, in layout order; none where all groups are single cells."""
    groups: dict[str, dict[int, Cell]] = {}
    for cell in plan.cells:
        fields = cell.request.to_json() | {"seed": None, "variables": cell.variables}
        name = json.dumps(fields, sort_keys=True)
        groups.setdefault(name, {}).setdefault(cell.request.seed, cell)
    found = tuple(tuple(cells.values()) for cells in groups.values())
    return found if any(len(cells) > 1 for cells in found) else ()


def over_seeds(
    plan: GridPlan,
    results: Sequence[CellResult],
    reference: Position,
    vectors: Mapping[str, Vector | None],
) -> tuple[OverSeeds, ...]:
    """One for each group of `seed_groups`. vectors: key of a picture → who is in it, of a card."""
    scores = {result.cell.position: result.scores for result in results}
    references = plan.references(reference)
    return tuple(
        _over(labels_of(plan, cells), cells, scores, references, vectors) for cells in seed_groups(plan)
    )


def _over(
    labels: Mapping[str, str],
    cells: tuple[Cell, ...],
    scores: Mapping[Position, Mapping[str, float | None]],
    references: Mapping[Position, Position],
    vectors: Mapping[str, Vector | None],
) -> OverSeeds:
    positions = tuple(cell.position for cell in cells)
    is_reference = all(references[position] == position for position in positions)
    means, against = {}, {}
    for name in scores[positions[0]]:
        own = {position: scores[position][name] for position in positions}
        if found := [value for value in own.values() if value is not None]:
            means[name] = estimate(found)
        pairs = ((value, scores[references[position]][name]) for position, value in own.items())
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        if differences and not is_reference:
            against[name] = estimate(differences)
    seeds = tuple(cell.request.seed for cell in cells)
    return OverSeeds(
        labels, positions, seeds, means, against, diversity([vectors.get(cell.key) for cell in cells])
    )


def diversity(vectors: Sequence[Vector | None]) -> float | None:
    """Mean of 1 − cosine over all pairs; None for fewer than two vectors."""
    seen = [vector for vector in vectors if vector is not None]
    return fmean(distance(a, b) for a, b in combinations(seen, 2)) if len(seen) > 1 else None


def groups_json(groups: Sequence[OverSeeds]) -> list[dict[str, object]]:
    """For results.json."""
    return [asdict(group) for group in groups]


def labels_of(plan: GridPlan, cells: Sequence[Cell]) -> dict[str, str]:
    """Title of each axis along which the cells do not differ → their value there."""
    return {
        axis.title: cells[0].labels[i]
        for i, axis in enumerate(plan.axes)
        if axis.title and len({cell.labels[i] for cell in cells}) == 1
    }


def groups_csv(plan: GridPlan, groups: Sequence[OverSeeds]) -> bytes:
    """`means.csv`: a row for each group: means and intervals, and those of differences to the reference."""
    titles = [axis.title for axis in plan.axes if axis.title]
    titles = [title for title in titles if any(title in group.labels for group in groups)]
    names = list(dict.fromkeys(name for group in groups for name in group.scores))
    parts = ("", " low", " high", " against", " against low", " against high")
    heads = [f"{name}{part}" for name in names for part in parts]
    rows: list[Sequence[object]] = [[*titles, "pictures", *heads, "diversity"]]
    for group in groups:
        found = [one for name in names for one in (group.scores.get(name), group.against.get(name))]
        numbers = [value for one in found for value in _three(one)]
        row = [
            *(group.labels.get(title, "") for title in titles),
            len(group.cells),
            *map(csv_number, numbers),
        ]
        rows.append([*row, csv_number(group.diversity)])
    return csv_file(rows)


def untold(name: str, gap: Estimate | None) -> str:
    """Why nothing is sure of a difference that has no interval."""
    if gap is None:
        return f"The fresh seeds do not tell {name}."
    return f"{len(gap.values)} fresh seeds are too few to tell {name}: {signed_points(gap.mean)} points."


def _three(value: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.mean, value.low, value.high)
