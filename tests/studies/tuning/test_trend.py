"""The straight line through candidates: where a number rises."""

from __future__ import annotations

import numpy as np
import pytest

from loralathe.studies.tuning.trend import Trend


def test_it_finds_the_slope_of_each_axis() -> None:
    random = np.random.default_rng(1)
    points = [tuple(int(n) for n in random.integers(0, (4, 7, 3))) for _ in range(300)]
    values = {point: 0.6 * point[0] / 3 - 0.3 * point[1] / 6 + 0.1 for point in points}
    trend = Trend.through(values, (4, 7, 3), (True, True, True))
    assert trend.slopes == pytest.approx([0.6, -0.3, 0], abs=0.02)
    assert trend.at((3, 0, 0)) == pytest.approx(0.6, abs=0.02)
    assert max(values, key=trend.at)[:2] == (3, 0)


def test_what_tells_nothing_is_flat() -> None:
    assert Trend.through({(1, 1): 0.5}, (3, 3), (True, True)).slopes == pytest.approx([0, 0])
    values = {(0, 0): 0.0, (2, 0): 1.0, (1, 1): -np.inf, (): 3.0}
    assert Trend.through(values, (3, 3), (True, True)).slopes[1] == pytest.approx(0)
    assert Trend.through(values, (3, 3), (False, True)).slopes == pytest.approx([0, 0]), (
        "values without an order"
    )
