"""From numbers to a choice: who leads, who deserves more seeds, and the one to recommend.

The *worth* of a candidate is the sum of its objectives, each times its weight and with its sign (`goals.py`
says what they weigh where nothing is said). A mean over few seeds is lucky as often as good. So more
seeds go to whom one deviation of luck would put in front, and the recommended one is the best with one
deviation taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from loralathe.studies.tuning.goals import Goal
from loralathe.studies.tuning.racing import Values, front, means, pooled_noise


@dataclass(frozen=True, slots=True)
class Worth:
    """Mean over the seeds, and the standard error of it."""

    mean: float
    error: float
    seeds: int

    @property
    def low(self) -> float:
        return self.mean - self.error

    @property
    def high(self) -> float:
        return self.mean + self.error


def worths(tables: Mapping[int, Values], goals: tuple[Goal, ...]) -> dict[int, Worth]:
    """Of each candidate. Its error comes from the spread of all candidates over the seeds that they share;
    what a seed does to all of them has no part in it.
    """
    weights = np.array([goal.weigh for goal in goals])
    sums = {key: (table * weights)[:, weights > 0].sum(1, keepdims=True) for key, table in tables.items()}
    noise = pooled_noise({key: table for key, table in sums.items() if len(table) > 1})
    single = sqrt(float(noise.variance[0]) / 2) if len(noise.variance) else 0.0
    found = {}
    for key, table in tables.items():
        columns = means(table)[weights > 0]
        mean = float((columns * weights[weights > 0]).sum()) if not np.isnan(columns).any() else -inf
        found[key] = Worth(mean, single / sqrt(len(table)) if len(table) else inf, len(table))
    return found


def leader(found: Mapping[int, Worth], fewest: int = 1) -> int:
    """The best with its error taken off, among those with `fewest` seeds, if there are any."""
    seasoned = {key: one for key, one in found.items() if one.seeds >= fewest} or found
    return max(seasoned, key=lambda key: (seasoned[key].low, -key))


def next_to_measure(found: Mapping[int, Worth], most: int) -> int | None:
    """Who gets the next seeds: of the leader and those whom luck may have kept behind it, the most
    promising one that has not got `most`. None where the leader is clear, or all of them have.
    """
    ahead = leader(found)
    close = {key: one for key, one in found.items() if key == ahead or one.high > found[ahead].low}
    open_ones = [key for key, one in close.items() if one.seeds < most]
    if len(close) < 2 or not open_ones:
        return None
    return max(open_ones, key=lambda key: (close[key].high, -key))


def front_of(tables: Mapping[int, Values], goals: tuple[Goal, ...]) -> list[int]:
    """The Pareto front of the means, the most worth first."""
    points = {key: means(table) for key, table in tables.items() if len(table)}
    found = worths(tables, goals)
    slack = tuple(goal.slack for goal in goals)
    return sorted(front(points, slack), key=lambda key: -found[key].mean)
