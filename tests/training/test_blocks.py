"""The search for a block list: what is kept, and what is tried."""

from __future__ import annotations

import pytest
from training.blocks import Weights, list_text, search

NEEDED, HARM = (1.0, 0.0, 0.0, 0.004), (0.0, 0.3, 0.0, 0.1)
"""What each block gives to Hina, and does to other people; a little of the last one is needed."""


def hers(weights: Weights) -> float:
    return sum(weight * part for weight, part in zip(weights, NEEDED, strict=True))


def theirs(weights: Weights) -> float:
    return -sum(weight * part for weight, part in zip(weights, HARM, strict=True))


def test_blocks_that_only_harm_are_switched_off() -> None:
    assert search(hers, theirs, 4) == (1.0, 0.0, 1.0, 0.0)


def test_what_hina_needs_stays() -> None:
    assert search(lambda weights: 10 * hers(weights), theirs, 4)[3] == 1.0


@pytest.mark.parametrize("weights", [(1.0, 0.5, 0.0)])
def test_lists_are_written_as_options(weights: Weights) -> None:
    assert list_text(weights) == "1,0.5,0"
