"""How much a search may take: pictures, or time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from loralathe.errors import InputError, option

LEAST, MOST = 0.15, 0.5
"""Parts of a budget that go to telling those ahead apart. Between them it is candidates / `MANY`."""
MANY = 400
OF_TIME = 50
"""Candidates that a budget of time is taken for."""
LEVELS = (8, 16, 32)
"""Seeds of each round but the last."""
FEWEST = 3
"""Of a round: the one to be recommended, the best of the first goal, and the one with the best mean."""
_UNITS = {
    "picture": "pictures", "pictures": "pictures", "image": "pictures", "images": "pictures",
    "張": "pictures", "張圖": "pictures", "s": "1", "second": "1", "seconds": "1", "秒": "1",
    "m": "60", "min": "60", "minute": "60", "minutes": "60", "分鐘": "60", "分": "60",
    "h": "3600", "hour": "3600", "hours": "3600", "小時": "3600",
}  # fmt: skip
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(\D*?)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Budget:
    """pictures: of the study, earlier runs included;  seconds: of this run. One of the two is None."""

    pictures: int | None = None
    seconds: float | None = None


def check_seeds(budget: Budget) -> int:
    """Fresh seeds for the end: a small budget must not be spent on the check."""
    return 8 if budget.pictures is None else min(8, max(3, budget.pictures // 20))


def read_budget(text: str | int) -> Budget:
    """`200 pictures`, `200`, `30 minutes`, `2 h`. Raises InputError."""
    found = _TEXT.fullmatch(str(text))
    unit = _UNITS.get(found[2].casefold() or "pictures") if found else None
    if found is None or unit is None or float(found[1]) <= 0:
        raise InputError(
            f"'{text}' is no budget",
            where=option("budget"),
            fix=f"write {option('budget', '200 pictures')} or {option('budget', '30 minutes')}",
        )
    if unit == "pictures":
        return Budget(pictures=int(float(found[1])))
    return Budget(seconds=float(found[1]) * float(unit))


@dataclass(frozen=True, slots=True)
class Closing:
    """The last part of a budget, in which no new candidates come: of those ahead, half as many get twice the
    seeds, round by round. So nobody wins by the luck of a few.

    share: of the budget, more where it pays for many candidates;  rounds: (candidates, seeds).
    Sequential halving: Z. Karnin, T. Koren, O. Somekh, Almost optimal exploration in multi-armed bandits,
    2013.
    """

    share: float
    rounds: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, affordable: int | None, first: int, most: int) -> Closing:
        """affordable: new candidates of `first` seeds that the budget pays for, None if it is time.  most:
        seeds of the last round.
        """
        count = OF_TIME if affordable is None else affordable
        share = min(MOST, max(LEAST, count / MANY))
        levels = [seeds for seeds in LEVELS if seeds < most] + [most]
        width = share * count * first / 20  # seeds that the rounds take for each candidate of the first one
        counts = (max(FEWEST, round(width / 2**at)) for at in range(len(levels)))
        return cls(share, tuple(zip(counts, levels, strict=True)))


@dataclass
class Purse:
    """A budget being spent.

    spent: how many pictures there are by now.  kept: pictures that are kept for the check at the end.
    """

    budget: Budget
    spent: Callable[[], int]
    kept: int
    begun: float
    clock: Callable[[], float] = time.monotonic

    def closing(self, share: float) -> bool:
        """Whether only the last part is left."""
        return not self._within(1 - share, 0)

    def candidates(self, pictures_of_each: int) -> int | None:
        """How many new ones there can be; None where time decides."""
        if self.budget.pictures is None:
            return None
        return max(0, self.budget.pictures - self.kept) // pictures_of_each

    def measuring(self, next_pictures: int) -> bool:
        """Whether so many pictures more leave enough for the check."""
        return self._within(1.0, next_pictures)

    def _within(self, part: float, next_pictures: int) -> bool:
        if self.budget.pictures is not None:
            return self.spent() + next_pictures <= part * max(0, self.budget.pictures - self.kept)
        assert self.budget.seconds is not None
        passed = self.clock() - self.begun
        # Time is kept for the check as for so many pictures at this run's own speed.
        pace = passed / max(1, self.spent())
        return passed + pace * next_pictures <= part * (self.budget.seconds - pace * self.kept)
