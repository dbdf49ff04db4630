"""Races against a truth that is known: the stated error holds, and what is far behind goes early."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from scipy import stats

from loralathe.studies.tuning.racing import (
    Noise,
    Rule,
    Values,
    beaten_by,
    difference,
    front,
    means,
    pooled_noise,
    radius_at,
)


def martingale(values: np.ndarray, centre: float, effect: float) -> float:
    """The Bayes factor of N(0, g) on μ/σ against 0 with 1/σ on σ, by integration over the effect size δ.

    Given δ, the likelihood of the t statistic is that of the noncentral t; its ratio to the central one is
    the ratio of the marginal likelihoods (right Haar on σ).
    """
    n = len(values)
    t = sqrt(n) * (values.mean() - centre) / values.std(ddof=1)
    sizes = np.linspace(-8, 8, 4001) * sqrt(effect)
    weights = stats.norm.pdf(sizes, scale=sqrt(effect))
    ratios = stats.nct.pdf(t, n - 1, sqrt(n) * sizes) / stats.t.pdf(t, n - 1)
    return float(np.trapezoid(np.nan_to_num(ratios) * weights, sizes))


@pytest.mark.parametrize("n", [5, 7, 12])
def test_the_interval_ends_where_the_martingale_passes_one_over_the_error(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 1.0, n)
    error, effect = 0.05, 1.0
    radius = radius_at(n, float(values.var(ddof=1)), n - 1, error, effect)
    assert martingale(values, float(values.mean()) - radius, effect) == pytest.approx(1 / error, rel=2e-3)


def test_one_seed_or_an_unknown_variance_tells_nothing() -> None:
    assert radius_at(1, 1.0, 0, 0.05, 4.0) == inf
    assert radius_at(0, 1.0, 5, 0.05, 4.0) == inf
    assert radius_at(3, 0.0, 5, 0.05, 4.0) == 0.0


def test_the_interval_holds_at_all_looks_together() -> None:
    """2,000 walks of 60 steps, looked at after every step: at most 5 % ever leave. A t-interval leaves in
    30 %.
    """
    walks = np.random.default_rng(1).normal(0, 1, (2000, 60))
    n = np.arange(1, 61)
    mean = walks.cumsum(1) / n
    variance = ((walks**2).cumsum(1) - n * mean**2)[:, 1:] / (n[1:] - 1)
    mean, n = np.abs(mean[:, 1:]), n[1:]
    factor = np.array([radius_at(int(k), 1.0, int(k) - 1, 0.05, 1.0) for k in n])
    usual = np.array([stats.t.ppf(0.975, k - 1) / sqrt(k) for k in n])
    assert (mean > factor * np.sqrt(variance)).any(1).mean() <= 0.05
    assert (mean > usual * np.sqrt(variance)).any(1).mean() > 0.25


def play(
    truth: Values, sigma: Values, random: np.random.Generator, rule: Rule, most: int = 16
) -> dict[int, int]:
    """A race over all candidates at once; candidate → the seeds it had when it was dropped."""
    count, objectives = truth.shape
    shared = random.normal(0, 1, (most, objectives))
    drawn = {c: truth[c] + shared + sigma[c] * random.normal(0, 1, (most, objectives)) for c in range(count)}
    alive = {c: drawn[c][:2] for c in range(count)}
    dropped: dict[int, int] = {}
    noise = Noise.none(objectives)
    for n in (2, 4, 8, most):
        alive = {c: drawn[c][:n] for c in alive}
        noise = pooled_noise(alive) if len(alive) > 2 else noise
        for candidate in sorted(alive, key=lambda c: means(alive[c]).sum()):
            if beaten_by(candidate, alive, noise, rule) is not None:
                dropped[candidate] = n
                del alive[candidate]
    return dropped


def test_the_best_is_rarely_dropped_and_the_worst_go_early() -> None:
    """20 candidates, one best by 0.2 σ, 40 races: it is lost in at most 5 %, the last ones are out by 8
    seeds.
    """
    random = np.random.default_rng(2)
    rule = Rule((0.0,), 0.05, 20)
    truth = np.concatenate([[0.0], -np.linspace(0.2, 4.0, 19)])[:, None]
    sigma = np.ones((20, 1))
    races = [play(truth, sigma, random, rule) for _ in range(40)]
    assert sum(0 in one for one in races) / len(races) <= 0.05
    assert np.mean([one.get(19, 99) <= 8 for one in races]) > 0.95


def test_the_error_holds_where_some_are_noisier_than_others() -> None:
    """Scores near a ceiling hardly vary, bad ones do: the pooled variance is cautious for the good ones."""
    random = np.random.default_rng(3)
    rule = Rule((0.0, 0.0), 0.05, 10)
    truth = -np.abs(random.normal(0, 0.3, (10, 2)))
    truth[0] = 0.0
    sigma = 0.05 + 3 * np.abs(truth)
    lost = sum(0 in play(truth, sigma, random, rule) for _ in range(40))
    assert lost / 40 <= 0.05


def test_equal_candidates_stay() -> None:
    random = np.random.default_rng(4)
    rule = Rule((0.0, 0.0), 0.05, 10)
    races = [play(np.zeros((10, 2)), np.ones((10, 2)), random, rule) for _ in range(40)]
    assert sum(bool(one) for one in races) / 40 <= 0.05


def test_a_rival_must_not_be_worse_elsewhere() -> None:
    """More likeness for more bleed is a trade, and no candidate of a trade is dropped."""
    rule = Rule((0.01, 0.01), 0.05, 2)
    noise = Noise(np.array([1e-6, 1e-6]), np.array([30.0, 30.0]))
    good, other = np.tile([0.9, -0.5], (8, 1)), np.tile([0.5, -0.1], (8, 1))
    assert beaten_by(1, {0: good, 1: other}, noise, rule) is None
    assert beaten_by(1, {0: good, 1: np.tile([0.5, -0.5], (8, 1))}, noise, rule) == 0
    assert beaten_by(1, {0: good, 1: np.tile([0.895, -0.5], (8, 1))}, noise, rule) is None, "within the slack"


def test_who_may_lead_in_the_first_goal_is_not_dropped_for_the_second() -> None:
    """The rival bleeds much less; whether it is as alike, eight seeds with one failure do not tell."""
    random = np.random.default_rng(6)
    alike, failing = np.ones(8), np.where(np.arange(8) == 0, 0.93, 1.0)
    bleed = random.normal(0, 0.01, 8)
    leader = np.stack([alike, bleed - 0.9], 1)
    noise = Noise(np.array([0.001, 0.0002]), np.array([30.0, 30.0]))
    rule = Rule(slack=(0.01, 0.01), rivals=10)
    assert beaten_by(0, {0: leader, 1: np.stack([failing, bleed - 0.5], 1)}, noise, rule) is None
    surely = Noise(np.array([1e-9, 0.0002]), np.array([30.0, 30.0]))
    assert beaten_by(0, {0: leader, 1: np.stack([alike, bleed - 0.5], 1)}, surely, rule) == 1


def test_pictures_that_tell_nothing_are_left_out_in_pairs() -> None:
    rule = Rule((0.0,), 0.05, 2)
    one = np.array([[1.0], [np.nan], [3.0], [9.0]])
    other = np.array([[0.0], [0.0], [1.0]])
    found = difference(one, other, Noise.none(1), rule)
    assert found.seeds[0] == 2
    assert found.mean[0] == 1.5


def test_pooled_noise_is_that_of_a_difference() -> None:
    """Candidates and seeds have effects of their own, which fall out."""
    random = np.random.default_rng(5)
    seeds = random.normal(0, 10, (400, 1))
    tables = {c: 5.0 * c + seeds + 0.5 * random.normal(0, 1, (400, 1)) for c in range(6)}
    noise = pooled_noise(tables)
    assert noise.variance[0] == pytest.approx(2 * 0.25, rel=0.1)
    assert noise.freedom[0] == 30


def test_the_front_has_no_dominated_point() -> None:
    points = {
        0: np.array([0.9, -0.4]),
        1: np.array([0.7, -0.1]),
        2: np.array([0.6, -0.2]),
        3: np.array([np.nan, 0]),
    }
    assert front(points, (0.01, 0.01)) == [0, 1, 3]
    assert front({0: np.array([0.9]), 1: np.array([0.895])}, (0.01,)) == [0, 1], "within the slack both stay"
