"""What candidates tell of each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from loralathe.studies.tuning.choose import field_of
from loralathe.studies.tuning.goals import goals_of
from loralathe.studies.tuning.options import space_of
from loralathe.studies.tuning.racing import Values
from loralathe.studies.tuning.surface import Shape, Surface
from studies.tuning.world import SCORERS, options

GOALS = goals_of((), scorers=SCORERS, plain=True)


def grid(count: int) -> Values:
    """(count², 2, 1): places on two axes."""
    line = np.linspace(0, 1, count)
    return np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2, 1)


def hill(places: Values) -> Values:
    x, y = places[:, 0, 0], places[:, 1, 0]
    found: Values = 0.9 - 0.5 * (x - 0.6) ** 2 - 0.8 * (y - 0.3) ** 2
    return found


def test_it_foretells_what_was_not_measured() -> None:
    random = np.random.default_rng(1)
    places, every = random.random((40, 2, 1)), grid(7)
    noise = np.full(40, 0.02**2)
    surface = Surface.through(places, hill(places) + random.normal(0, 0.02, 40), noise)
    means, errors = surface.at(every)
    off = means - hill(every)
    assert np.sqrt((off**2).mean()) < 0.3 * hill(every).std()
    assert 0.4 < np.sqrt(((off / errors) ** 2).mean()) < 1.5, "its errors are honest"
    far, _ = surface.at(np.full((1, 2, 1), 30.0))
    assert far == pytest.approx(surface.mean, abs=1e-6), "it knows nothing there"


def test_it_is_the_conditional_normal_distribution() -> None:
    """Beside SciPy's joint density: f given y is density(f, y) / density(y), for every f."""
    random = np.random.default_rng(2)
    places, values, noise = random.random((6, 2, 1)), random.normal(0.5, 0.2, 6), random.random(6) * 0.01
    surface = replace(Surface.through(places, values, noise), off=np.ones(6))
    one = np.array([[[0.4], [0.7]]])
    together = np.concatenate([one, places])
    gaps = ((together[:, None, :, 0] - together[None, :, :, 0]) ** 2).transpose(2, 0, 1)
    joint = surface.shape.covariance(gaps) + np.diag([0.0, *noise])
    centre = np.full(7, surface.mean)
    mean, error = (float(found[0]) for found in surface.at(one))
    for at in (mean - error, mean, mean + 2 * error):
        told = multivariate_normal.logpdf([at, *values], centre, joint) - multivariate_normal.logpdf(
            values, centre[1:], joint[1:, 1:]
        )
        assert told == pytest.approx(multivariate_normal.logpdf(at, mean, error**2), abs=1e-6)


def test_what_each_is_off_is_that_of_the_surface_without_it() -> None:
    random = np.random.default_rng(5)
    places, values, noise = random.random((7, 2, 1)), random.normal(0.5, 0.2, 7), random.random(7) * 0.01
    surface = Surface.through(places, values, noise)
    gaps = ((places[:, None, :, 0] - places[None, :, :, 0]) ** 2).transpose(2, 0, 1)
    whole = surface.shape.covariance(gaps) + np.diag(noise)
    for at in range(7):
        rest = np.arange(7) != at
        pull = np.linalg.solve(whole[np.ix_(rest, rest)], whole[rest, at])
        foretold = surface.mean + pull @ (values[rest] - surface.mean)
        variance = whole[at, at] - pull @ whole[rest, at]
        assert surface.off[at] == pytest.approx((values[at] - foretold) ** 2 / variance)


def test_errors_are_small_on_the_flat_and_large_at_an_edge() -> None:
    """Where a person is always recognized nothing is hoped for; elsewhere neighbours are unlike."""
    places = grid(9)
    x, y = places[:, 0, 0], places[:, 1, 0]
    values = np.where(x < 0.6, 1.0, 0.7 + 0.3 * np.sin(9 * y))
    surface = Surface.through(places, values, np.full(81, 0.01**2))
    both = np.array([[[0.07], [0.55]], [[0.93], [0.55]]])
    _, alike = replace(surface, off=np.ones(81)).at(both)
    assert alike[0] == pytest.approx(alike[1])
    _, (flat, edge) = surface.at(both)
    assert flat < alike[0] < 1.5 * flat < 1.1 * edge


def test_an_axis_that_does_nothing_is_flat_and_one_that_does_is_not() -> None:
    random = np.random.default_rng(3)
    places = random.random((60, 2, 1))
    surface = Surface.through(places, np.sin(6 * places[:, 0, 0]), np.full(60, 1e-4))
    assert surface.shape.lengths[0] < surface.shape.lengths[1]
    assert surface.shape.lengths[1] == 3.0


def test_shapes() -> None:
    shape = Shape(np.array([1.0, 2.0]), 0.5, 0.1)
    gaps = np.array([[[0.0, 1.0]], [[0.0, 4.0]]])
    assert shape.covariance(gaps) == pytest.approx(np.array([[0.55, 0.5 * np.exp(-1)]]))


def test_neighbours_vouch_for_a_candidate() -> None:
    """One that was flawless on two seeds is surer among flawless ones than among some that failed."""
    random = np.random.default_rng(4)
    tables, places = {}, {}
    for key in range(24):
        good = key < 12
        likeness = np.ones(8) if good else random.choice([0.4, 1.0], 8)
        tables[key] = np.stack([likeness, np.full(8, -0.5), np.full(8, 0.5)], 1)
        places[key] = np.array([[0.0 if good else 1.0], [(key % 12) / 11]])
    for key, side in ((24, 0.0), (25, 1.0)):
        tables[key] = np.tile([1.0, -0.5, 0.5], (2, 1))
        places[key] = np.array([[side], [0.5]])
    alone = field_of(tables, GOALS).standings
    assert alone[24].first.low == pytest.approx(alone[25].first.low)
    told = field_of(tables, GOALS, places=places).standings
    assert told[24].first.low > alone[24].first.low
    assert told[24].first.low > told[25].first.low + 0.05
    assert told[25].first.mean < alone[25].first.mean, "as lucky as its neighbours were not"


def test_places_of_candidates(tmp_path: Path) -> None:
    space = space_of(options(tmp_path, sweeps=("hina unet = 0, 0.5, 1", "hina blocks = ALL, OUTD, MIDD")))
    places = space.places([(0, 0), (2, 0), (1, 1), (1, 2)])
    assert places.shape == (4, 2, 3)
    gaps = ((places[:, None] - places[None]) ** 2).sum(-1)
    assert gaps[0, 1] == pytest.approx([1, 0])
    assert gaps[0, 2] == pytest.approx([0.25, 1])
    assert gaps[2, 3] == pytest.approx([0, 1]), "values without an order are equally far from each other"
