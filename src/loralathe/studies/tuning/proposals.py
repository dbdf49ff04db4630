"""Candidates that Optuna proposes, by ask and tell, and the trials of a search.

TPE looks at the order of all candidates by the choice (`choose.Field.order`), so that it looks where one
could be chosen, and not all along the front. NSGA-II looks at the objectives themselves. A search takes the
first candidates from here, and every fourth later; the others are those that the surface of all candidates
promises most of (`search.py`).

The trials stay in `tune.db` in the study's folder (SQLite), which is how a search goes on where it stopped.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loralathe.errors import InputError, MachineError
from loralathe.studies.tuning.space import Point, Space

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

SamplerName = Literal["tpe", "nsga2"]
SAMPLERS: tuple[SamplerName, ...] = ("tpe", "nsga2")
DATABASE = "tune.db"
POPULATION = 16
"""Of NSGA-II."""
TRIES = 12
"""How often Optuna may propose what was seen already, before any unseen candidate is taken."""


@dataclass(frozen=True)
class Kept:
    """What a search knew when it stopped: of each candidate how many seeds it had; who was dropped, by whom.

    The latter cannot be told from the numbers later. Nor can the former from the pictures that there are,
    since two candidates may be the same ones under other values.
    """

    seeds: Mapping[int, int]
    dropped: Mapping[int, int]


def need_optuna() -> None:
    """MachineError, with the way to install it, when Optuna is missing."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MachineError(
            "a search needs Optuna, which is not installed", fix='pip install "loralathe[tune]"'
        ) from error


class Proposals:
    """The trials of one search; `name` tells it from others in the same folder."""

    def __init__(
        self,
        folder: Path,
        space: Space,
        objectives: int,
        name: str,
        sampler: SamplerName,
        seed: int,
        candidates: int | None = None,
    ) -> None:
        """candidates: about how many there will be, if that is known; a quarter of them is a random start."""
        need_optuna()
        import optuna
        from optuna.exceptions import ExperimentalWarning

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        self._space, self._sampler, self._seed = space, sampler, seed
        wanted = 4 + len(space.axes)
        self.startup = wanted if candidates is None else max(2, min(wanted, candidates // 4))
        folder.mkdir(parents=True, exist_ok=True)
        path = (folder / DATABASE).absolute().as_posix()
        try:
            self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            self._study: Study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=["maximize"] * objectives,
                load_if_exists=True,
                sampler=self._make(0),
            )
        except Exception as error:  # SQLAlchemy's and Optuna's share no narrower base class
            raise InputError(
                "the trials of this folder cannot be read",
                where=str(folder / DATABASE),
                fix="delete it and run again: finished pictures stay",
            ) from error
        self._open: dict[Point, list[Trial]] = {}
        for trial in self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def close(self) -> None:
        """Let go of the database."""
        self._storage.engine.dispose()

    def told(self) -> list[Point]:
        """Candidates of earlier runs, in their order, each once."""
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return list(dict.fromkeys(self._point(trial.params) for trial in trials))

    def keep(self, now: Kept) -> None:
        """Write down how far the search is."""
        for name, numbers in (("seeds", now.seeds), ("dropped", now.dropped)):
            self._study.set_user_attr(name, {str(number): other for number, other in numbers.items()})

    def kept(self) -> Kept:
        """How far an earlier run was."""
        told = self._study.user_attrs
        seeds, dropped = (
            {int(number): int(other) for number, other in told.get(name, {}).items()}
            for name in ("seeds", "dropped")
        )
        return Kept(seeds, dropped)

    def ask(self, seen: set[Point], order: Sequence[Point]) -> Point | None:
        """An unseen candidate; None when there is none left.

        seen: those that are known, and what was given.  order: those in the race, the best first.
        """
        if len(seen) > self._space.size:  # what was given is among the seen
            return None
        number = 1000 * len(self.told())  # of those that were told: a stopped one does not count
        dice = random.Random(f"{self._seed} {number}")
        if self._sampler == "tpe":
            guided = self._guided(order, number)
            for _ in range(TRIES):
                point = self._point(guided.ask(self._distributions()).params)
                if point not in seen:
                    return self._enqueued(point)
            return self._enqueued(self._unseen(seen, dice))
        for _ in range(TRIES):
            self._study.sampler = self._make(number)
            trial = self._study.ask(self._distributions())
            point = self._point(trial.params)
            if point not in seen:
                self._open.setdefault(point, []).append(trial)
                return point
            self._fail(trial)
            number += 1
        return self._enqueued(self._unseen(seen, dice))

    def _guided(self, order: Sequence[Point], number: int) -> Study:
        """A study in memory, of one objective: the order changes with every picture."""
        import optuna

        study = optuna.create_study(direction="maximize", sampler=self._make(number))
        distributions = self._distributions()
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={f"{i}": self._stored(i, at) for i, at in enumerate(point)},
                    distributions=distributions,
                    value=-place,
                )
                for place, point in enumerate(order)
                if point
            ]
        )
        return study

    def enqueue(self, point: Point) -> Point:
        """Propose this one."""
        return self._enqueued(point)

    def tell(self, point: Point, values: Iterable[float]) -> None:
        """Its objectives, larger is better; a NaN counts as −1, worse than any share."""
        numbers = [-1.0 if isnan(value) else float(value) for value in values]
        for trial in self._open.pop(point, []):
            self._study.tell(trial, numbers)

    def _unseen(self, seen: set[Point], dice: random.Random) -> Point:
        """Any; those that are few are looked for one by one."""
        counts = [len(axis.values) for axis in self._space.axes]
        for _ in range(1000):
            point = tuple(dice.randrange(count) for count in counts)
            if point not in seen:
                return point
        return next(point for point in product(*map(range, counts)) if point not in seen)

    def _enqueued(self, point: Point) -> Point:
        self._study.enqueue_trial({f"{i}": self._stored(i, at) for i, at in enumerate(point)})
        trial = self._study.ask(self._distributions())
        self._open.setdefault(point, []).append(trial)
        return point

    def _fail(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        self._study.tell(trial, state=TrialState.FAIL)

    def _distributions(self) -> dict[str, BaseDistribution]:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for i, (axis, ordered) in enumerate(zip(self._space.axes, self._space.ordered, strict=True)):
            last = len(axis.values) - 1
            found[f"{i}"] = (
                IntDistribution(0, last)
                if ordered
                else CategoricalDistribution([str(n) for n in range(last + 1)])
            )
        return found

    def _stored(self, axis: int, at: int) -> int | str:
        return at if self._space.ordered[axis] else str(at)

    def _point(self, params: dict[str, int | str]) -> Point:
        return tuple(int(params[f"{i}"]) for i in range(len(self._space.axes)))

    def _make(self, number: int) -> BaseSampler:
        """A sampler whose dice follow from the trial's number: a search that was stopped goes on as if it had
        not been."""
        from optuna.samplers import NSGAIISampler, TPESampler

        seed = (self._seed + 7919 * number) % 2**31
        if self._sampler == "nsga2":
            return NSGAIISampler(population_size=POPULATION, seed=seed)
        return TPESampler(n_startup_trials=self.startup, multivariate=True, seed=seed)
