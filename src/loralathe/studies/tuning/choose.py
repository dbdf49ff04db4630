"""From numbers to a choice: the first goal comes first, and what may be given up of it buys the others.

A candidate is *near* when it is at most `within` behind the best of the first goal, likeness as a rule. Of
the near ones, the one with the best *rest* is chosen: the other goals, each with its sign and its weight.
So the most alike one is not taken for its last half point whatever it costs, and nothing is ever worth more
of likeness than `within`.

A mean over few seeds is lucky as often as good. So who is the best, in the first goal or in the rest, is told
with one standard error taken off, and more seeds go to those that look better than the one that is chosen so
far. Whether one is near is told by its mean: the best one's luck is taken off already. Of many that are a
little too far, some look near on few seeds: so the more seeds the budget allows, the more are needed to be
recommended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import erfc, inf, pi, sqrt

import numpy as np

from loralathe.studies.tuning.few_seeds import SURE, Mark, Means
from loralathe.studies.tuning.goals import SLACK, Goal
from loralathe.studies.tuning.racing import Difference, Values, front
from loralathe.studies.tuning.surface import Surface

WITHIN = 0.02
"""What of the first goal may be given up for the others: two points."""
EQUAL = 0.005
"""Half a point of the rest: of many that are as good as each other, the one that is known best is chosen, or
the choice would go from one to the next with every picture.
"""
SHORT = 5.0
"""What a point of the first goal counts among those that are not near, where it guides a search."""
PEERS = 0.05
"""Candidates so near to the best of the first goal tell of each other's spread in the rest."""
FEWEST_PLACES = 4
"""Fewer candidates tell nothing of each other."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
NODES = _NODES, _WEIGHTS / _WEIGHTS.sum()
"""Of a normal distribution, and their weights."""


@dataclass(frozen=True)
class Marks:
    """Of many: (n,) each."""

    means: Values
    errors: Values

    @classmethod
    def of(cls, some: Sequence[Mark]) -> Marks:
        return cls(np.array([one.mean for one in some]), np.array([one.error for one in some]))

    def and_of(self, means: Values, errors: Values) -> Marks:
        """These, and others behind them."""
        return Marks(np.concatenate([self.means, means]), np.concatenate([self.errors, errors]))


@dataclass(frozen=True, slots=True)
class Standing:
    """A candidate: its first goal, the weighed sum of the others, and how many seeds tell it."""

    first: Mark
    rest: Mark
    seeds: int


@dataclass(frozen=True)
class Field:
    """All candidates of a race.

    within: what of the first goal may be given up.  fewest: seeds that the top and the chosen one need;
    half of what the best known one has, if that is fewer.  surfaces: of the first goal and of the rest,
    where candidates have places.
    most: the first goal of the best picture; no mean will be above it.
    """

    standings: Mapping[int, Standing]
    within: float = WITHIN
    fewest: int = 1
    surfaces: tuple[Surface, Surface] | None = None
    most: float = inf

    def _seasoned(self) -> Mapping[int, Standing]:
        enough = min(self.fewest, max((one.seeds for one in self.standings.values()), default=0) // 2)
        return {key: one for key, one in self.standings.items() if one.seeds >= enough}

    @cached_property
    def top(self) -> int:
        """The best of the first goal."""
        some = self._seasoned()
        return max(some, key=lambda key: (some[key].first.low, some[key].rest.low, -key))

    @cached_property
    def bar(self) -> float:
        """What the first goal of a near one is at least."""
        return self.standings[self.top].first.low - self.within

    def is_near(self, key: int) -> bool:
        return self.standings[key].first.mean >= self.bar

    @cached_property
    def near(self) -> tuple[int, ...]:
        """Those that may be chosen, the best rest first; of equally good ones who has the most seeds."""
        some = [key for key in self._seasoned() if self.is_near(key)]
        best = max((self.standings[key].rest.low for key in some), default=-inf)

        def place(key: int) -> tuple[int, float, float, int]:
            one = self.standings[key]
            seeds = one.seeds if one.rest.low >= best - EQUAL else 0
            return seeds, one.rest.low, one.first.low, -key

        return tuple(sorted(some, key=place, reverse=True))

    @property
    def chosen(self) -> int:
        """The one to recommend."""
        return self.near[0]

    @cached_property
    def order(self) -> tuple[int, ...]:
        """All of them by their means: the near ones by their rest, then the others."""
        return tuple(sorted(self.standings, key=self._place, reverse=True))

    def _place(self, key: int) -> tuple[bool, float, int]:
        first, rest = self.standings[key].first.mean, self.standings[key].rest.mean
        near = first >= self.bar
        return near, rest if near else SHORT * first + rest, -key

    def gain(self, first: Marks, rest: Marks) -> Values:
        """(n,): what measuring candidates is worth: by how much each is expected to be better than the chosen
        one in the rest, and than the top one in the first goal, beyond the slack.

        What one lacks to be near counts `SHORT` times against its rest: so the search also looks along the
        edge where the first goal falls. Expected improvement: J. Mockus, On Bayesian methods for seeking the
        extremum, 1975; over the first goal by Gauss and Hermite.
        """
        top, chosen = self.standings[self.top].first.mean, self.standings[self.chosen].rest.mean
        better = SHORT * (
            _expected_above(first, top + SLACK) - _expected_above(first, max(top + SLACK, self.most))
        )
        for node, weight in zip(*NODES, strict=True):
            lacks = np.maximum(0.0, top - self.within - first.means - node * first.errors)
            better = better + weight * _expected_above(rest, chosen + SLACK + SHORT * lacks)
        return better

    def doubt(self, key: int) -> float:
        """What measuring the top or the chosen one is worth: by how much the next one is expected to be
        better, in the first goal or in the rest, beyond the slack.
        """
        others = [one for other, one in self.standings.items() if other != key]
        own, doubt = self.standings[key], 0.0
        if key == self.top:
            doubt += SHORT * _expected_below(own.first, max((one.first.mean for one in others), default=-inf))
        if key == self.chosen:
            near = (one.rest.mean for one in others if one.first.mean >= self.bar)
            doubt += _expected_below(own.rest, max(near, default=-inf))
            if key != self.top:
                doubt += SHORT * _expected_below(own.first, self.bar)
        return doubt

    def next_to_measure(self, most: int) -> int | None:
        """Who gets the next seeds: of those that matter to the choice, the one with the fewest. None where
        the choice is clear, or all of them have `most`.

        These are the chosen one; the best one that is better by more than a point, but on too few seeds to be
        chosen; the top, while it is not sure that the chosen one is near it; and one whose mean is above the
        top's.
        """
        found, chosen, top = self.standings, self.chosen, self.top
        ahead = found[chosen]
        rivals = [
            key
            for key, one in found.items()
            if key != chosen and one.first.high >= self.bar and one.rest.mean > ahead.rest.mean + SLACK
        ]
        above = max(found, key=lambda key: (found[key].first.mean, -key))
        matter = {above} if found[above].first.mean > found[top].first.mean else set[int]()
        if chosen != top and ahead.first.low < found[top].first.high - self.within:
            matter.add(top)
        if rivals:
            matter.add(max(rivals, key=lambda key: (found[key].rest.mean, -key)))
        if not matter:
            return None
        asked = [key for key in {*matter, chosen} if found[key].seeds < most]
        return min(asked, key=lambda key: (found[key].seeds, key)) if asked else None


def two_columns(table: Values, goals: tuple[Goal, ...]) -> Values:
    """(seeds, 2): the first goal, and the weighed sum of the others, 0 where none counts."""
    weights = np.array([goal.weigh for goal in goals[1:]])
    counted = table[:, 1:][:, weights > 0] * weights[weights > 0]
    found: Values = np.stack([table[:, 0], counted.sum(1)], 1)
    return found


def field_of(
    tables: Mapping[int, Values],
    goals: tuple[Goal, ...],
    within: float = WITHIN,
    fewest: int = 1,
    places: Mapping[int, Values] | None = None,
) -> Field:
    """How the candidates stand.

    tables: (seeds, goals) of each, on the same seeds from the first on.  places: (axes, width) of those that
    tell of each other, see `Space.places`; their means are then what they and their neighbours tell.
    """
    if not tables:
        return Field({}, within, fewest)
    columns = {key: two_columns(table, goals) for key, table in tables.items()}
    found = Means.of(columns)
    peers = found.own[:, 0] >= max(found.own[:, 0], default=0.0) - PEERS
    # Of the first goal all tell: who never failed so far is as likely to fail as anybody was.
    marks = found.marks(0, np.zeros_like(peers)), found.marks(1, peers)
    told = [key for key in places or () if all(one[key].mean > -inf for one in marks)]
    surfaces = None
    if places and len(told) >= FEWEST_PLACES:
        where = np.stack([places[key] for key in told])
        surfaces = _smoothed(marks[0], told, where), _smoothed(marks[1], told, where)
    standings = {key: Standing(marks[0][key], marks[1][key], len(table)) for key, table in tables.items()}
    best = max(
        (float(np.nanmax(table[:, 0])) for table in columns.values() if not np.isnan(table[:, 0]).all()),
        default=inf,
    )
    return Field(standings, within, fewest, surfaces, best)


def _smoothed(marks: dict[int, Mark], told: Sequence[int], where: Values) -> Surface:
    """The surface through these marks, which become those of the surface."""
    own = Marks.of([marks[key] for key in told])
    surface = Surface.through(where, own.means, own.errors**2)
    for key, mean, error in zip(told, *surface.at(where), strict=True):
        marks[key] = Mark(float(mean), float(error))
    return surface


def _normal(at: Values) -> Values:
    """The cumulative normal distribution."""
    return np.array([0.5 * erfc(-float(one) / sqrt(2)) for one in at])


def _expected_above(some: Marks, level: float | Values) -> Values:
    """E max(0, f − level), (n,)."""
    errors = np.maximum(some.errors, SURE)
    far = (some.means - level) / errors
    found: Values = errors * (far * _normal(far) + np.exp(-0.5 * far**2) / sqrt(2 * pi))
    return found


def _expected_below(one: Mark, other: float) -> float:
    """E max(0, other − f), beyond the slack; 0 where there is no other."""
    if other == -inf:
        return 0.0
    return float(_expected_above(Marks.of([Mark(-one.mean, one.error)]), SLACK - other)[0])


def is_preferred(gap: Difference, within: float) -> bool:
    """Whether one is surely to be preferred to another. `gap`: the difference of their `two_columns`.

    It is surely ahead in the first goal by more than `within`; or in one of both at all, and not behind by
    more than that in the other.
    """
    first, rest = map(float, gap.low)
    return first > within or (max(first, rest) > 0 and min(first, rest) >= -within)


def is_no_better(gap: Difference, within: float) -> bool:
    """Whether one is surely not to be preferred to another."""
    first, rest = map(float, gap.high)
    return first < -within or (first <= 0 and rest <= 0)


def comparable(tables: Mapping[int, Values]) -> dict[int, Values]:
    """(goals,) of each candidate: means without what the seeds do to all, since some have more of them."""
    return dict(zip(tables, Means.of(tables).own, strict=True))


def front_of(tables: Mapping[int, Values], goals: tuple[Goal, ...], within: float = WITHIN) -> list[int]:
    """The Pareto front of the means, the best of the choice first."""
    points = comparable({key: table for key, table in tables.items() if len(table)})
    field = field_of(tables, goals, within)
    slack = tuple(goal.slack for goal in goals)
    ahead = set(front(points, slack))
    return [key for key in field.order if key in ahead]
