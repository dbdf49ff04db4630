"""What candidates on few seeds would be on all of them, and how sure that is. Pure numpy.

A candidate on few seeds is told by what became of the others that looked alike on those: who was perfect on
two easy seeds is what such ones are on all. So a hard seed counts as hard for those that it can hurt, and not
for those that are perfect, or nothing, on every seed; an effect of each seed on all, the usual table of two
ways, would take it from these, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

from loralathe.studies.tuning.goals import SLACK
from loralathe.studies.tuning.racing import Values

PRIOR_FREEDOM = 2.0
"""How much the spread of others says of that of one: as much as so many seeds of its own.

Without it, four flawless seeds would be proof; with it their error falls as 1/n, as for a failure that was
not seen yet.
"""
ALIKE = 0.25
"""Means that are so much of their standard deviation apart are alike, as far as seeds go."""
FAR = 0.02
"""What those that are not alike tell of a seed, beside one that is: all, where nobody is."""

SURE = 1e-6
"""An error that is none."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A mean as it would be on all seeds, and its standard error."""

    mean: float
    error: float

    @property
    def low(self) -> float:
        return self.mean - self.error

    @property
    def high(self) -> float:
        return self.mean + self.error


@dataclass(frozen=True)
class Means:
    """Numbers of all candidates, as they would be on all seeds that anybody has; (candidates, columns) each.

    own: -inf where nothing tells it;  squares: of what is left within a candidate when the seeds are
    accounted for, summed, without what the noise of the others adds;  counts: seeds that tell it.
    """

    keys: tuple[int, ...]
    own: Values
    squares: Values
    counts: Values

    @classmethod
    def of(cls, tables: Mapping[int, Values]) -> Means:
        """tables: (seeds, columns) of each, from the first seed on; NaN where a picture tells nothing."""
        long = np.array([len(table) for table in tables.values()], dtype=np.int64)
        columns = max((table.shape[1] for table in tables.values()), default=0)
        all_ = np.full((len(long), max(long, default=0), columns), np.nan)
        for at, table in enumerate(tables.values()):
            all_[at, : len(table)] = table
        counts = (~np.isnan(all_)).sum(1).astype(float)
        own, squares = np.full(counts.shape, -inf), np.zeros(counts.shape)
        spread = np.array([_spread(column) for column in _means(all_).T])
        for at in np.argsort(-long, kind="stable"):
            seeds = all_[:, : long[at]]
            means = _means(seeds)
            weights = _alike(means, at, np.maximum(ALIKE * spread, SLACK)) * (long >= long[at])
            for column in range(columns):
                if counts[at, column]:
                    told = weights * ~np.isnan(means[:, column])
                    more = told * (long > long[at])
                    change = _believed(more, own[:, column] - means[:, column])
                    own[at, column] = means[at, column] + change
                    squares[at, column] = _left(seeds[:, :, column] - means[:, [column]], at, told)
        return cls(tuple(tables), own, squares, counts)

    def marks(self, column: int, peers: NDArray[np.bool_]) -> dict[int, Mark]:
        """With errors. peers: those who tell of each other's spread more than the others do."""
        counts, squares = self.counts[:, column], self.squares[:, column]
        told = counts > 0

        def spread(some: NDArray[np.bool_], prior: float = 0.0, before: float = 0.0) -> float:
            """Variance of one picture among some; `before` says as much as `prior` pictures."""
            freedom = prior + float((counts - 1)[some].sum())
            return (prior * before + float(squares[some].sum())) / freedom if freedom > 0 else 0.0

        common = spread(told)
        near = spread(told & peers, PRIOR_FREEDOM, common)
        found = {}
        for at, key in enumerate(self.keys):
            n, prior = counts[at], near if peers[at] else common
            if n == 0:
                found[key] = Mark(-inf, 0.0)
                continue
            variance = (PRIOR_FREEDOM * prior + squares[at]) / (PRIOR_FREEDOM + n - 1)
            found[key] = Mark(float(self.own[at, column]), sqrt(variance / n))
        return found


def _means(seeds: Values) -> Values:
    """(n, columns) of (n, seeds, columns), NaN where nothing is told."""
    told = ~np.isnan(seeds)
    count = told.sum(1)
    found: Values = np.where(count, np.where(told, seeds, 0.0).sum(1) / np.maximum(count, 1), np.nan)
    return found


def _spread(column: Values) -> float:
    told = column[~np.isnan(column)]
    return float(told.std()) if len(told) else 0.0


def _alike(means: Values, at: int, reach: Values) -> Values:
    """(n,): how much one is told by the others, from `FAR` to 1, and 0 by itself."""
    far = np.nan_to_num((means - means[at]) / reach, nan=inf)
    found: Values = np.maximum(np.exp(-0.5 * (far**2).sum(1)), FAR)
    found[at] = 0.0
    return found


def _believed(weights: Values, changes: Values) -> float:
    """A weighed mean, half of it by one, more by more of them."""
    some = weights > 0
    if not some.any():
        return 0.0
    weights, changes = weights[some], changes[some]
    number = weights.sum() ** 2 / (weights**2).sum()
    return float(weights @ changes / weights.sum() * number / (number + 1))


def _left(off: Values, at: int, weights: Values) -> float:
    """What is left of the squares of one candidate. off: (n, seeds), from the means."""
    told = ~np.isnan(off)
    total = weights @ told
    seeds = weights @ np.where(told, off, 0.0) / np.maximum(total, SURE)
    noise = 1 + weights**2 @ told / np.maximum(total, SURE) ** 2
    return float(np.nansum((off[at] - seeds) ** 2 / noise))
