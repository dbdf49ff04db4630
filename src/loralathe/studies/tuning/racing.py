"""Racing: how many seeds a candidate needs until it is surely beaten. Pure numpy, no pictures.

Candidates are measured on the same seeds, in the same order, so two of them are compared by paired
differences: what a seed does to both of them falls out (common random numbers). One looks after every few
seeds and stops as soon as the answer is clear. An ordinary 95 % interval would be wrong more often than 5 %
then, since it holds for one look. The intervals here hold at all looks at once.

    Q(n) = (A − 1) / (1 − A / (1 + n·g)),   A = ((1 + n·g) / error²)^(1 / (f + 1)),
    radius = s · √(Q·f / n),                 infinite while A ≥ 1 + n·g

for n differences with variance s² of f degrees of freedom. With f = n − 1 this is where the test martingale
of a normal mean with unknown variance (right Haar on σ, N(0, g) on μ/σ) passes 1/error: H. Wang and A.
Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance", arXiv
2310.03722, after T. L. Lai 1976; by Ville's inequality the mean leaves the interval at any n, ever, with a
chance of `error` at most.

Two seeds tell nothing of a variance, so that of the differences between all candidates is taken in
(`Noise`). This is exact where all pairs have one variance, and cautious for pairs that differ less than
most do, which are those that are close.

Several objectives: a candidate is dropped when a rival surely beats it in one of them by more than the
slack, is not seen to be worse by more than the slack in any other, and surely is not in the first, which
comes before the others. Where it is not the first that the rival wins, it must be as good there on several
seeds: who fails on one seed of ten looks flawless on two. The error of a race is split evenly
over all pairs and objectives. So the chance that a candidate which no rival beats by more than the slack
anywhere is dropped, at whatever moment, is `error` at most (tests/studies/tuning/test_racing.py plays this
against a known truth).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
"""(seeds, objectives): larger is better; NaN where a picture tells nothing."""

MOST_FREEDOM = 30
"""Of a pooled variance: more would trust that all pairs are equally noisy more than it deserves."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a candidate is dropped.

    error: of the whole race.  rivals: how many candidates may meet in it.
    slack: differences up to this count as none, one for each objective.
    effect: g, the variance of the differences that one expects, in units of s².
    proof: seeds on which one is shown to be as good in the first objective.
    """

    slack: tuple[float, ...]
    error: float = 0.05
    rivals: int = 50
    effect: float = 4.0
    proof: int = 8

    @property
    def of_pair(self) -> float:
        """The error that one objective of one pair may take."""
        return self.error / (max(1, self.rivals - 1) * len(self.slack))


@dataclass(frozen=True)
class Noise:
    """Variance of a paired difference in each objective (d,), and its degrees of freedom (d,)."""

    variance: Values
    freedom: Values

    @classmethod
    def none(cls, objectives: int) -> Noise:
        """Nothing is known yet."""
        return cls(np.zeros(objectives), np.zeros(objectives))


@dataclass(frozen=True)
class Difference:
    """Of two candidates over n shared seeds: mean (d,), how far it may be off (d,), and n (d,)."""

    mean: Values
    radius: Values
    seeds: Values

    @property
    def low(self) -> Values:
        low: Values = self.mean - self.radius
        return low

    @property
    def high(self) -> Values:
        high: Values = self.mean + self.radius
        return high


def pooled_noise(tables: Mapping[int, Values]) -> Noise:
    """From all candidates over the seeds that every one of them has.

    Residuals of a two-way table (candidate + seed), whose variance doubled is that of a difference. A
    column with a NaN is left out of its objective.
    """
    objectives = next(iter(tables.values())).shape[1] if tables else 0
    shared = min((len(table) for table in tables.values()), default=0)
    if len(tables) < 2 or shared < 2:
        return Noise.none(objectives)
    stacked = np.stack([table[:shared] for table in tables.values()])  # (candidates, seeds, objectives)
    variance, freedom = np.zeros(objectives), np.zeros(objectives)
    for j in range(objectives):
        plane = stacked[:, :, j]
        plane = plane[:, ~np.isnan(plane).any(axis=0)]
        rows, columns = plane.shape
        count = (rows - 1) * (columns - 1)
        if count <= 0:
            continue
        residual = plane - plane.mean(1, keepdims=True) - plane.mean(0, keepdims=True) + plane.mean()
        variance[j] = 2 * float((residual**2).sum()) / count
        freedom[j] = min(count, MOST_FREEDOM)
    return Noise(variance, freedom)


def radius_at(seeds: int, variance: float, freedom: float, error: float, effect: float) -> float:
    """Half of the interval of a mean of `seeds` differences that holds at all looks; see the module."""
    if seeds < 1 or freedom <= 0:
        return inf
    if variance <= 0:
        return 0.0
    grown = 1 + seeds * effect
    a = (grown / error**2) ** (1 / (freedom + 1))
    if a >= grown:
        return inf
    q = (a - 1) / (1 - a / grown)
    return sqrt(variance * q * freedom / seeds)


def difference(
    one: Values, other: Values, noise: Noise, rule: Rule, error: float | None = None
) -> Difference:
    """one − other over the seeds that both have, with what is known of the noise beside their own."""
    shared = min(len(one), len(other))
    deltas = one[:shared] - other[:shared]
    objectives = deltas.shape[1]
    mean, radius, seeds = np.zeros(objectives), np.full(objectives, inf), np.zeros(objectives)
    for j in range(objectives):
        found = deltas[:, j][~np.isnan(deltas[:, j])]
        n = len(found)
        if n == 0:
            continue
        mean[j], seeds[j] = found.mean(), n
        squares = noise.variance[j] * noise.freedom[j] + float(((found - found.mean()) ** 2).sum())
        freedom = noise.freedom[j] + n - 1
        variance = squares / freedom if freedom > 0 else 0.0
        radius[j] = radius_at(n, variance, freedom, error or rule.of_pair, rule.effect)
    return Difference(mean, radius, seeds)


def level(values: Values, noise: Noise, rule: Rule, error: float | None = None) -> Difference:
    """The means of one candidate, with intervals for comparing them with others of the same seeds.

    They take half of a pair's noise; what a seed does to all candidates has no part in them.
    """
    half = Noise(noise.variance / 2, noise.freedom)
    return difference(values, np.zeros_like(values), half, rule, error)


def surely_beats(better: Difference, rule: Rule) -> bool:
    """Whether `rival − candidate` is surely above the slack somewhere, nowhere seen below minus the slack,
    and in the first goal surely not below it: who leads there is not dropped by who only bleeds less.
    """
    slack = np.asarray(rule.slack)
    seen_worse = bool((better.mean < -slack).any())
    ahead = better.low > slack
    shown = bool(better.low[0] >= -slack[0]) and float(better.seeds[0]) >= rule.proof
    return not seen_worse and bool(ahead.any()) and (bool(ahead[0]) or shown)


def beaten_by(candidate: int, tables: Mapping[int, Values], noise: Noise, rule: Rule) -> int | None:
    """The rival that surely beats the candidate, or None. `tables` holds all that are still in the race."""
    for rival, values in tables.items():
        if rival != candidate and surely_beats(difference(values, tables[candidate], noise, rule), rule):
            return rival
    return None


def means(values: Values) -> Values:
    """(objectives,): the mean over the seeds that tell something; NaN where none does."""
    counts = (~np.isnan(values)).sum(0)
    sums = np.nansum(values, axis=0)
    found: Values = np.divide(sums, counts, out=np.full(values.shape[1], np.nan), where=counts > 0)
    return found


def front(points: Mapping[int, Values], slack: tuple[float, ...]) -> list[int]:
    """Those that no other point dominates: at least as good everywhere but for the slack, and better by more
    somewhere. Points are means (objectives,); a NaN is worse than any number."""
    clean = {key: np.where(np.isnan(point), -inf, point) for key, point in points.items()}
    bound = np.asarray(slack)

    def dominates(one: Values, other: Values) -> bool:
        with np.errstate(invalid="ignore"):
            gap = np.where(one == other, 0.0, one - other)
        return bool((gap >= -bound).all() and (gap > bound).any())

    return [
        key
        for key, point in clean.items()
        if not any(dominates(other, point) for rival, other in clean.items() if rival != key)
    ]
