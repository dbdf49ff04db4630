"""The choice: what comes first, what may be given up of it, and who gets more seeds."""

from __future__ import annotations

import numpy as np
import pytest

from loralathe.studies.tuning.choose import (
    Field,
    Mark,
    Marks,
    Standing,
    comparable,
    field_of,
    front_of,
    is_no_better,
    is_preferred,
)
from loralathe.studies.tuning.goals import goals_of
from loralathe.studies.tuning.racing import Difference, Values
from studies.tuning.world import SCORERS

GOALS = goals_of((), scorers=SCORERS, plain=True)


def standing(first: float, rest: float, error: float = 0.0, seeds: int = 16) -> Standing:
    return Standing(Mark(first, error), Mark(rest, error), seeds)


def rows(*means: float, seeds: int = 8) -> Values:
    """The same numbers on every seed."""
    return np.tile(np.array(means), (seeds, 1))


def test_of_those_near_the_best_the_one_that_costs_least_is_chosen() -> None:
    tables = {
        0: rows(0.99, -0.90, 0.8),  # the most alike one
        1: rows(0.985, -0.60, 0.8),  # half a point less, and much less bleed
        2: rows(0.96, 0.0, 0.8),  # three points less are too many, whatever they buy
    }
    field = field_of(tables, GOALS)
    assert (field.top, field.near, field.chosen) == (0, (1, 0), 1)
    assert field_of(tables, GOALS, within=0.0).chosen == 0
    assert field_of(tables, GOALS, within=0.04).chosen == 2
    assert field.order == (1, 0, 2), "a search is led to what would be chosen"


def test_weights_are_between_the_others() -> None:
    tables = {0: rows(0.99, -0.6, 0.6), 1: rows(0.99, -0.5, 0.4)}
    assert field_of(tables, GOALS).chosen == 0
    weighed = goals_of((), scorers=SCORERS, plain=True, weights={"bleed": 3.0})
    assert field_of(tables, weighed).chosen == 1
    alone = goals_of((), scorers=SCORERS, plain=True, weights={"bleed": 0.0, "prompt": 0.0})
    assert field_of({0: rows(0.98, -0.6, 0.6), 1: rows(0.985, -0.9, 0.4)}, alone).chosen == 1


def goals_rows(first: Values) -> Values:
    """Bleed and prompt the same everywhere."""
    return np.stack([first, np.full(len(first), -0.5), np.full(len(first), 0.5)], 1)


def test_what_seeds_do_to_all_is_left_out() -> None:
    """One on two easy seeds does not stand above those that had hard ones, too; few others tell half."""
    easy = np.array([0.1, 0.1, -0.1, -0.1])
    many = {key: goals_rows(0.6 + key / 100 + easy) for key in range(20)}
    standings = field_of(many | {99: goals_rows(0.7 + easy[:2])}, GOALS).standings
    assert standings[99].first.mean == pytest.approx(0.7, abs=0.02)
    for key in many:
        assert standings[key].first.mean == pytest.approx(0.6 + key / 100)
        assert standings[key].first.error == pytest.approx(0, abs=1e-6)
    few = field_of({0: many[10], 99: goals_rows(0.7 + easy[:2])}, GOALS).standings
    assert few[99].first.mean == pytest.approx(0.75)


def test_seeds_do_not_touch_what_is_perfect() -> None:
    """Hard seeds spoil the good ones. One like the perfect ones is not taken for a good one, though both look
    alike in the first goal on the easy seeds: they differ in the rest.
    """
    fails = np.array([1, 1, 0.8, 0.8, 1, 0.8, 0.8, 0.8])
    good = {key: np.stack([fails, fails - 1.5, np.ones(8)], 1) for key in range(10)}
    perfect = {key: rows(1, -1, 1, seeds=8) for key in (20, 21, 22, 23)}
    standings = field_of(good | perfect | {98: rows(1, -1, 1, seeds=2), 99: good[0][:2]}, GOALS).standings
    assert standings[98].first.mean > 0.99
    assert standings[99].first.mean == pytest.approx(fails.mean(), abs=0.015)


def test_what_one_alone_fails_on_is_half_believed_to_be_the_seeds() -> None:
    """Nobody else has its last seeds, which may be hard, or not."""
    failed = np.array([1.0] * 8 + [0.8] * 4)
    field = field_of({0: goals_rows(failed), 1: rows(1.0, -0.5, 0.5, seeds=8)}, GOALS)
    assert field.standings[0].first.mean == pytest.approx(failed.mean())
    assert field.standings[1].first.mean == pytest.approx((1 + failed.mean()) / 2)
    assert field.top == 1


def test_one_with_hard_seeds_is_not_behind_on_the_front() -> None:
    """It is as alike as the other and bleeds less, although its own mean of both is worse."""
    hard = np.array([0.0, 0.0, 0.2, 0.2])
    many = {key: np.stack([0.7 - hard, -0.5 - hard, np.full(4, 0.5)], 1) for key in range(2, 12)}
    tables = many | {
        0: np.stack([0.8 - hard, -0.3 - hard, np.full(4, 0.5)], 1),
        1: np.stack([0.8 - hard, -0.4 - hard, np.full(4, 0.5)], 1)[:2],
    }
    levels = comparable(tables)
    assert levels[0] - levels[1] == pytest.approx([0, 0.1, 0], abs=0.015)
    assert levels[0] == pytest.approx(tables[0].mean(0)), "what it is on all seeds"
    assert front_of(tables, GOALS) == [0]


def test_errors_are_those_of_pictures_beside_what_seeds_do() -> None:
    """What seeds do to all is no error: the spread that is left tells how sure a mean is."""
    random = np.random.default_rng(3)
    seeds = random.normal(0, 0.3, 400)
    tables = {key: np.stack([key / 10 + seeds + random.normal(0, 0.1, 400)] * 3, 1) for key in range(6)}
    field = field_of(tables, GOALS)
    for one in field.standings.values():
        assert one.first.error == pytest.approx(0.1 / np.sqrt(400), rel=0.1)


def test_flawless_seeds_are_no_proof() -> None:
    """The error of one that never failed comes from those that did, and falls as 1/n."""
    random = np.random.default_rng(4)
    noisy = {key: np.stack([random.normal(0.5, 0.1, 2)] * 3, 1) for key in range(2, 12)}
    few = field_of(noisy | {0: rows(1, -1, 1, seeds=4), 1: rows(1, -1, 1, seeds=16)}, GOALS).standings
    assert few[0].first.error > 3 * few[1].first.error > 0


def test_a_picture_that_tells_nothing_is_left_out() -> None:
    blind = np.array([[0.9, -0.5, 0.8], [0.9, np.nan, 0.8], [np.nan, -0.5, 0.8]])
    field = field_of({0: blind, 1: rows(0.8, -0.5, 0.8, seeds=3), 2: np.full((3, 3), np.nan)}, GOALS)
    assert field.chosen == 0
    assert field.standings[0].first.mean == pytest.approx(0.9)
    assert field.order[-1] == 2


def test_luck_does_not_lead_and_more_seeds_go_where_it_is_unclear() -> None:
    found = {
        0: standing(0.80, -0.5, 0.01, 8),
        1: standing(0.80, -0.4, 0.2, 2),
        3: standing(0.80, -0.49, 0.2, 2),
        2: standing(0.5, 0.0, 0.06, 2),
    }
    field = Field(found)
    assert field.chosen == 0
    assert field.next_to_measure(16) == 1, "it looks better, on too few seeds; no. 3 looks the same"
    assert Field({**found, 1: standing(0.7, -0.4, 0.02, 8)}).next_to_measure(16) is None, "it is clear"
    assert Field({0: standing(0.8, -0.5, 0.1), 1: standing(0.8, -0.5, 0.1)}).next_to_measure(16) is None
    seasoned = Field({**found, 1: standing(0.9, -0.4, 0.01, 2)}, fewest=4)
    assert seasoned.chosen == 0, "two seeds are too few to lead"


def test_the_chosen_one_gets_more_seeds_while_it_may_not_be_near() -> None:
    top = standing(0.99, -0.9, 0.005, 24)
    unsure, sure = (
        Field({0: top, 1: Standing(Mark(0.98, error), Mark(-0.7, 0), 12)}) for error in (0.02, 0.001)
    )
    assert (unsure.chosen, sure.chosen) == (1, 1)
    assert unsure.doubt(1) > sure.doubt(1) == pytest.approx(0)


def test_of_equally_good_ones_the_best_known_is_chosen() -> None:
    found = {0: standing(0.8, -0.5, 0, 4), 1: standing(0.8, -0.503, 0, 8), 2: standing(0.8, -0.52, 0, 16)}
    assert Field(found).near == (1, 0, 2)


def test_gain_is_what_a_candidate_may_be_better_by() -> None:
    field = Field({0: standing(0.99, -0.5), 1: standing(0.98, -0.4)}, within=0.02, most=1.0)
    assert (field.top, field.chosen) == (0, 1)

    def gain(first: float, first_error: float, rest: float, rest_error: float) -> float:
        ones = np.ones(1)
        found = field.gain(Marks(first * ones, first_error * ones), Marks(rest * ones, rest_error * ones))
        return float(found[0])

    assert gain(0.99, 0, -0.3, 0) == pytest.approx(0.09), "a tenth better, a point off"
    assert gain(0.99, 0, -0.41, 0) == pytest.approx(0), "not better"
    assert gain(0.96, 0, -0.2, 0) == pytest.approx(0.19 - 5 * 0.01), "what it lacks counts five times"
    assert gain(0.5, 0, 0.0, 0) == pytest.approx(0), "much less alike"
    assert gain(0.99, 0.2, -0.9, 0) == pytest.approx(0, abs=1e-9), "no likeness above the best picture"
    assert gain(0.9, 0.05, -0.2, 0) > gain(0.9, 0.01, -0.2, 0), "it may be near"
    assert gain(0.99, 0, -0.42, 0.1) > gain(0.99, 0, -0.42, 0.01) >= 0, "it may be better"
    low = Field({0: standing(0.5, -0.5)}, most=0.9)
    assert float(low.gain(Marks(np.array([0.6]), np.zeros(1)), Marks(np.array([-0.9]), np.zeros(1)))[0]) == (
        pytest.approx(5 * 0.09)
    ), "more alike than the top"


def test_the_best_is_measured_while_it_is_not_sure_that_the_chosen_one_is_near_it() -> None:
    close = {0: standing(0.800, -0.5, 0.004, 8), 1: standing(0.796, -0.2, 0.004, 12)}
    field = Field(close, within=0.01)
    assert (field.top, field.chosen) == (0, 1)
    assert field.next_to_measure(16) == 0
    sure = {0: standing(0.800, -0.5, 0.001, 8), 1: standing(0.796, -0.2, 0.001, 12)}
    assert Field(sure, within=0.01).next_to_measure(16) is None


@pytest.mark.parametrize(
    ("low", "high", "preferred", "no_better"),
    [
        ((0.02, -0.3), (0.05, 0.1), True, False),  # surely more alike by more than may be given up
        ((-0.005, 0.02), (0.03, 0.05), True, False),  # as alike, and surely better otherwise
        ((0.002, -0.005), (0.03, 0.05), True, False),  # surely more alike, and as good otherwise
        ((0.002, -0.05), (0.03, 0.05), False, False),
        ((-0.05, 0.3), (-0.02, 0.5), False, True),  # surely less alike: nothing makes up for it
        ((-0.05, -0.3), (0.0, 0.0), False, True),
        ((-0.05, -0.3), (0.01, 0.2), False, False),
        ((-np.inf, -np.inf), (np.inf, np.inf), False, False),
    ],
)
def test_what_is_surely_preferred(
    low: tuple[float, float], high: tuple[float, float], *, preferred: bool, no_better: bool
) -> None:
    ends = np.array([low, high])
    with np.errstate(invalid="ignore"):
        gap = Difference(ends.mean(0), (ends[1] - ends[0]) / 2, np.array([4.0, 4.0]))
    if np.isinf(ends).any():
        gap = Difference(np.zeros(2), np.full(2, np.inf), np.zeros(2))
    assert is_preferred(gap, 0.01) is preferred
    assert is_no_better(gap, 0.01) is no_better


def test_nobody_yet() -> None:
    """A search that was stopped before its first picture, or with no seed told."""
    assert field_of({}, GOALS).standings == {}
    assert comparable({}) == {}
    assert field_of({0: rows(1, -0.5, 0.5, seeds=0)}, GOALS).standings[0].first.mean == -np.inf
