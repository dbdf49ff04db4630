"""The order of a training's epochs, and their weights in an average."""

from __future__ import annotations

import numpy as np
import pytest

from loralathe.adapters.epochs import epoch_name, moving_average, order_of_epochs, shares
from loralathe.errors import InputError

NONE = ({}, {}, {})


@pytest.mark.parametrize(
    ("stems", "order"),
    [
        (("hina-000030", "hina-000004", "hina"), [1, 0, 2]),
        (("hina-step00000500", "hina-step00001500", "hina-step00001000"), [0, 2, 1]),
        (("hina_e10", "hina_e9", "hina_e11"), [1, 0, 2]),
        (("hina-000030", "hina-30", "hina"), None),
        (("hina-000030", "mio-000010", "hina"), None),
        (("hina", "mio", "hina-2"), None),
    ],
)
def test_names_tell_the_order(stems: tuple[str, ...], order: list[int] | None) -> None:
    assert order_of_epochs(stems, NONE) == order


def test_metadata_comes_first_and_damaged_metadata_tells_nothing() -> None:
    stems = ("a-1", "a-2", "a-3")
    assert order_of_epochs(stems, [{"ss_epoch": one} for one in ("3", "2", "10")]) == [1, 0, 2]
    assert order_of_epochs(stems, [{"ss_epoch": "5", "ss_steps": one} for one in ("9", "8", "7")]) == [
        2,
        1,
        0,
    ]
    assert order_of_epochs(stems, [{"ss_epoch": one} for one in ("nan", "2", "x")]) == [0, 1, 2]


def test_names_without_their_numbers() -> None:
    names = ("hina-000010", "hina", "000010", "anime10", "hina-step500")
    assert [epoch_name(one) for one in names] == ["hina", "hina", "000010", "anime", "hina"]


def test_the_moving_average_is_the_recursion_with_its_bias_divided_out() -> None:
    values = np.array([3.0, -1.0, 4.0, 1.5])
    running = 0.0
    for value in values:
        running = 0.8 * running + 0.2 * value
    weights = moving_average(4, 0.8)
    assert sum(weights) == pytest.approx(1)
    assert float(np.dot(weights, values)) == pytest.approx(running / (1 - 0.8**4))


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 2.0])
def test_a_decay_lies_between_0_and_1(decay: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        moving_average(3, decay)


def test_weights_are_shares() -> None:
    assert shares((1, 2, 1), ("a", "b", "c")) == (0.25, 0.5, 0.25)
    for wrong in ((1, 2), (0, 0, 0), (1, -1, 1), (1, float("inf"), 1)):
        with pytest.raises(InputError):
            shares(wrong, ("a", "b", "c"))
