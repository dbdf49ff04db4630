"""Epochs of one training: in which order a trainer saved them, and what each weighs in their average."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import fsum, isfinite

from loralathe.errors import InputError, few, option

KEYS = ("ss_epoch", "ss_steps", "ss_training_finished_at")
"""Metadata of sd-scripts that rises from epoch to epoch."""
_NUMBER = re.compile(r"(?P<name>.*?)(?:[-_. ]+(?:epoch|step|e|s)?[-_]?)?(?P<number>\d+)", re.IGNORECASE)


def epoch_name(stem: str) -> str:
    """`hina` of `hina-000010`; a name without a number stays."""
    found = _NUMBER.fullmatch(stem)
    return found["name"] if found and found["name"] else stem


def order_of_epochs(stems: Sequence[str], metadata: Sequence[Mapping[str, str]]) -> list[int] | None:
    """Places of the files from the earliest to the latest epoch; None where nothing tells the order.

    Metadata tells it where all files have a number of a kind and no two have the same one; else the number
    at the end of names that are the same before it. A trainer saves the last epoch without a number: such a
    name comes last.
    """
    for key in KEYS:
        if (order := _by_numbers([_number(one.get(key)) for one in metadata])) is not None:
            return order
    if len({epoch_name(stem) for stem in stems}) > 1:
        return None
    matches = [_NUMBER.fullmatch(stem) for stem in stems]
    numbers = [float(found["number"]) if found else None for found in matches]
    if numbers.count(None) == 1:
        numbers[numbers.index(None)] = float("inf")
    return _by_numbers(numbers)


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if isfinite(found) else None


def _by_numbers(numbers: Sequence[float | None]) -> list[int] | None:
    known = [number for number in numbers if number is not None]
    if len(known) != len(numbers) or len(set(known)) != len(known):
        return None
    return sorted(range(len(known)), key=known.__getitem__)


def moving_average(count: int, decay: float) -> tuple[float, ...]:
    """Weights of an exponential moving average over `count` epochs, the earliest first; their sum is 1.

    wᵢ = βⁿ⁻ⁱ / Σⱼ βⁿ⁻ʲ: the average that begins at zero, its bias divided out (Kingma and Ba 2015, §3). The
    other usual form, which begins at the first epoch, would give that one βⁿ⁻¹, most of all for few epochs.
    """
    if not 0 < decay < 1:
        raise InputError(
            f"the decay of a moving average lies between 0 and 1, not {decay:g}",
            where=option("ema"),
            fix=f"give {option('ema', 0.9)}; a smaller number weighs the last epochs more",
        )
    powers = [decay ** (count - 1 - i) for i in range(count)]
    return tuple(power / fsum(powers) for power in powers)


def shares(weights: Sequence[float], names: Sequence[str]) -> tuple[float, ...]:
    """Weights divided by their sum. InputError for another number of them, and for such as give no mean."""
    if len(weights) != len(names):
        raise InputError(
            f"{len(weights)} weights are given for {len(names)} epochs",
            where=few(list(names)),
            fix=f"give one for each, in the same order: {option('weights', '1,2,1')}",
        )
    total = fsum(weights)
    if not all(isfinite(weight) and weight >= 0 for weight in weights) or not total > 0:
        raise InputError(
            "the weights of an average are numbers from 0 up, not all 0",
            where=option("weights"),
            fix=f"write {option('weights', '1,2,1')}; they are divided by their sum",
        )
    return tuple(weight / total for weight in weights)
