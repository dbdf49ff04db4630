"""`tune`: propose, measure on a few seeds, drop what is surely beaten, measure the best again, check,
report.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import numpy as np

from loralathe.errors import InputError, Value
from loralathe.likeness.intervals import Estimate
from loralathe.progress import Progress
from loralathe.rendering.request import Renderer
from loralathe.studies.plan import Job
from loralathe.studies.store import CellStore
from loralathe.studies.study_file import claim_folder
from loralathe.studies.tuning.budget import Closing, Purse
from loralathe.studies.tuning.choose import Field, Marks, comparable, field_of, front_of
from loralathe.studies.tuning.final import finals_of
from loralathe.studies.tuning.goals import estimates
from loralathe.studies.tuning.measure import Measurer
from loralathe.studies.tuning.options import TuneOptions, TunePlan, plan_tune, search_name, study_identity
from loralathe.studies.tuning.proposals import Kept, Proposals
from loralathe.studies.tuning.racing import (
    Noise,
    Rule,
    Values,
    beaten_by,
    difference,
    level,
    means,
    pooled_noise,
    surely_beats,
)
from loralathe.studies.tuning.report import (
    RECOMMENDED,
    Candidate,
    Check,
    Final,
    TuneReport,
    recommended_recipe,
    render_command,
    write_tune_report,
)
from loralathe.studies.tuning.space import AS_GIVEN, Point

EXPLORED = 4
"""Every so-manieth candidate comes from Optuna, since a surface knows nothing of far places."""
WORTH = 0.001
"""A tenth of a point: to look for less is not worth pictures."""
KNOWN = 2.0
"""What a gain by more seeds of a known candidate counts beside one by a new candidate, of which less is known
and so more hoped: what looks good must be shown to be, before more of the sort are looked at.
"""
LEADERS = 20
"""Whose neighbours are looked at in a space too large to look at all of it."""
LIVE_SECONDS = 5.0
"""How often the page is written while a search runs."""


def run_tune(options: TuneOptions, renderer: Renderer, progress: Progress | None = None) -> TuneReport:
    """Search in `options.folder`; pictures that are there are not rendered again, and trials go on.

    On Ctrl-C everything is kept, the page shows what there is, and KeyboardInterrupt goes on.
    """
    progress = progress or Progress()
    plan = plan_tune(options)
    claim_folder(options.folder, study_identity(options, plan.space), force=options.force)
    for note in plan.notes:
        progress.message(note)
    race = Race.begin(options, plan, renderer, progress)
    try:
        race.run()
    except KeyboardInterrupt:
        race.write(live=False)
        raise
    finally:
        race.proposals.close()
    return race.write(live=False)


@dataclass
class Race:
    """A search under way: candidates by number, in the order in which they came; 0 is what was given."""

    options: TuneOptions
    plan: TunePlan
    measurer: Measurer[Point]
    proposals: Proposals
    purse: Purse
    progress: Progress
    points: list[Point] = field(default_factory=list)
    dropped: dict[int, int] = field(default_factory=dict)
    checked: Check | None = None
    final: Final | None = None
    _written: float = 0.0
    _stage: str = "search"
    _field: tuple[tuple[int, int, int], Field] | None = None

    @classmethod
    def begin(cls, options: TuneOptions, plan: TunePlan, renderer: Renderer, progress: Progress) -> Race:
        measurer = Measurer(
            plan.space,
            plan.scenes,
            options.goals,
            CellStore(options.folder),
            renderer,
            progress,
            options.reuse,
        )
        seed = options.request.seed % 2**31
        name = search_name(options, plan)
        purse = Purse(options.budget, lambda: measurer.spent, plan.kept, time.monotonic())
        proposals = Proposals(
            options.folder,
            plan.space,
            len(options.goals),
            name,
            options.sampler,
            seed,
            purse.candidates(plan.pictures_of_scene * options.first),
        )
        return cls(options, plan, measurer, proposals, purse, progress)

    @property
    def rule(self) -> Rule:
        of_scene = self.plan.pictures_of_scene * self.options.first
        most = self.options.budget.pictures
        rivals = 50 if most is None else max(2, most // of_scene)
        slack = tuple(goal.slack for goal in self.options.goals)
        return Rule(slack, self.options.error, min(rivals, self.plan.space.size + 1))

    def run(self) -> None:
        with self.progress.task("search", total=self.options.budget.pictures, unit="pictures") as task:

            def tick() -> None:
                task.advance(self.measurer.spent - task.done)
                self._write_live()

            known, before = self.proposals.told(), self.proposals.kept()
            for number, point in enumerate((AS_GIVEN, *known)):
                self._enter(point, again=before.seeds.get(number, 0) if known else 0)
                tick()
            self.dropped |= {n: by for n, by in before.dropped.items() if max(n, by) < len(self.points)}
            self._search(tick)
            self._stage = "check"
            self._check()
            tick()

    def _search(self, tick: Callable[[], None]) -> None:
        """New candidates, or more seeds for known ones, whichever promises more, while the budget lasts."""
        while self.purse.measuring(self.plan.pictures_of_scene * self.options.first):
            found = self._next()
            if isinstance(found, int):
                if not self.purse.measuring(self._pictures_of_look(found)):
                    return
                self._look_closer(found)
            elif found is not None:
                self._enter(found)
                self._check_told()
            else:
                return
            tick()

    def _next(self) -> Point | int | None:
        """A new candidate, or the number of one that gets more seeds; None where all is known.

        First the first value of every axis, then what Optuna says, which looks around, and later every fourth
        time. Else what promises most. Where nothing promises anything, and at the end, those that would be
        recommended get more seeds: of all that were tried they had luck more likely than not.
        """
        self._stage = "search"
        if len(self.points) == 1:
            return self.proposals.enqueue(tuple(0 for _ in self.plan.space.axes))
        field = self.field
        unsure = self._unsure(field)
        closing = unsure is not None and self.purse.closing(self._closing.share)
        whole = len(self.points) > self.plan.space.size  # all candidates, and what was given
        around = len(self.points) <= self.proposals.startup or len(self.points) % EXPLORED == 0
        if not closing and field.surfaces is not None and (whole or not around):
            gain, found = self._most_promising(field)
            if gain >= WORTH:
                return found if isinstance(found, int) else self.proposals.enqueue(found)
            closing = unsure is not None
        closing |= whole and unsure is not None
        if closing:
            self._stage = "closer"
            return unsure
        order = [self.points[number] for number in field.order]
        return self.proposals.ask({*self.points, AS_GIVEN}, order)

    @property
    def _closing(self) -> Closing:
        return Closing.of(self._affordable, self.options.first, self.options.most)

    def _unsure(self, field: Field) -> int | None:
        """Who of those ahead gets more seeds at the end; None where all of them have enough."""
        ahead = list(dict.fromkeys((field.chosen, field.top, *field.order)))
        for count, seeds in self._closing.rounds:
            asked = [number for number in ahead[:count] if field.standings[number].seeds < seeds]
            if asked:
                return min(asked, key=lambda number: field.standings[number].seeds)
        return None

    def _most_promising(self, field: Field) -> tuple[float, Point | int]:
        """What most may be gained by, and how much (see `Field.gain`)."""
        assert field.surfaces is not None
        known = [
            number
            for number, one in field.standings.items()
            if one.seeds < self.options.most and isfinite(one.first.mean + one.rest.mean)
        ]
        seen = set(self.points)
        dice = random.Random(f"{self.options.request.seed} {len(seen)} {self._measured}")
        leaders = [self.points[number] for number in field.order[:LEADERS] if self.points[number]]
        new = [point for point in self.plan.space.pool(leaders, dice) if point not in seen]
        some: list[Point | int] = [*known, *new]
        if not some:
            return 0.0, field.chosen
        marks = [
            Marks.of([field.standings[number].first for number in known]),
            Marks.of([field.standings[number].rest for number in known]),
        ]
        if new:
            places = self.plan.space.places(new)
            marks = [own.and_of(*one.at(places)) for own, one in zip(marks, field.surfaces, strict=True)]
        gains = field.gain(*marks)
        for at, number in enumerate(known):
            if number in {field.top, field.chosen}:
                gains[at] = field.doubt(number)
        gains[: len(known)] *= KNOWN
        best = int(np.argmax(gains))
        return float(gains[best]), some[best]

    @property
    def _measured(self) -> int:
        """Seeds of all candidates; of two that are the same, the second takes none of the budget."""
        return sum(len(self.measurer.table(point)) for point in self.points)

    @property
    def _affordable(self) -> int | None:
        """New candidates that the budget would pay for."""
        return self.purse.candidates(self.plan.pictures_of_scene * self.options.first)

    @property
    def _seasoned(self) -> int:
        """Seeds that one needs to be recommended: fewer where the budget is small."""
        affordable = self._affordable
        times = 4 if affordable is None else max(2, affordable // 10)
        return min(times * self.options.first, self.options.most)

    def _check_told(self) -> None:
        """InputError where the first two candidates show nothing of a goal: the rest would not, either."""
        if len(self.points) != 2:
            return
        rows = np.concatenate([self.measurer.table(point) for point in self.points])
        for goal, column in zip(self.options.goals, rows.T, strict=True):
            if np.isnan(column).all():
                raise InputError(
                    f"no picture tells '{goal.name}'",
                    where=str(self.options.folder / "cells"),
                    fix="look at them: is the person there, in a size that the scorer reads? Or leave it out",
                )

    def _pictures_of_look(self, number: int) -> int:
        """What more seeds for a candidate may take: its own pictures, and the base's on seeds new to all."""
        count, first = len(self.measurer.table(self.points[number])), self.options.first
        known = max(len(self.measurer.table(point)) for point in self.points)
        bare = max(0, count + first - known) if self.measurer.needs_plain else 0
        return first * self.plan.pictures_of_scene + bare

    def _look_closer(self, number: int) -> None:
        """More seeds for a candidate."""
        point = self.points[number]
        count = len(self.measurer.table(point))
        self.measurer.measure({point: range(min(count + self.options.first, self.options.most))})
        self._drop_around(number)

    @property
    def alive(self) -> dict[int, Values]:
        return {
            number: self.measurer.table(point)[: self.options.most]
            for number, point in enumerate(self.points)
            if number not in self.dropped
        }

    @property
    def field(self) -> Field:
        """How those in the race stand. Those that were dropped tell of their neighbours still."""
        known = len(self.points), self._measured, len(self.dropped)
        if self._field is None or self._field[0] != known:
            most, points = self.options.most, self.points
            tables = {n: self.measurer.table(point)[:most] for n, point in enumerate(points)}
            places = self.plan.space.places(points[1:])  # what was given lies nowhere
            found = field_of(
                tables, self.options.goals, self.options.within, self._seasoned, dict(enumerate(places, 1))
            )
            alive = {n: one for n, one in found.standings.items() if n not in self.dropped}
            self._field = known, replace(found, standings=alive)
        return self._field[1]

    def _enter(self, point: Point, *, again: int = 0) -> None:
        """Measure a new candidate on the first seeds; `again`: on as many as it got in an earlier run.

        It is told to Optuna last: who was told, had its chance.
        """
        first = self.options.first
        self.measurer.measure({point: range(max(first, min(again, self.options.most)))})
        number, own = len(self.points), means(self.measurer.table(point)[:first])
        self.points.append(point)
        if not again:
            self._drop_around(number)
        if point:
            self.proposals.tell(point, own)

    def _drop_around(self, number: int) -> None:
        """Whom the new numbers of a candidate drop: itself, or others."""
        alive = self.alive
        noise, rule = _noise_of(alive), self.rule
        if number in alive and (rival := beaten_by(number, alive, noise, rule)) is not None:
            self.dropped[number] = rival
        else:
            for other, table in alive.items():
                if other != number and surely_beats(difference(alive[number], table, noise, rule), rule):
                    self.dropped[other] = number
        seeds = {number: len(self.measurer.table(point)) for number, point in enumerate(self.points)}
        self.proposals.keep(Kept(seeds, self.dropped))

    def _check(self) -> None:
        """The recommended one against what was given, on seeds that no choice was made by."""
        best = self.points[self.field.chosen]
        scenes = range(self.options.most, self.options.most + self.options.check)
        other = AS_GIVEN if best else self.points[min(1, len(self.points) - 1)]
        finals = finals_of(self.measurer, self.plan.space, self.options.models)
        if not scenes or best == other:
            finals.draw((best, AS_GIVEN), 0)
            self._end(finals, best, range(1))
            return
        finals.measure({best: scenes, other: scenes})
        tables = [finals.table(point, scenes) for point in (best, other)]
        self.checked = Check(
            against=self.points.index(other),
            seeds=tuple(self.plan.scenes[scene].seed for scene in scenes),
            values=tuple(estimates(tables[0], self.options.goals)),
            others=tuple(estimates(tables[1], self.options.goals)),
            differences=tuple(estimates(tables[0] - tables[1], self.options.goals)),
            keys=tuple(finals.key(best, scene) for scene in scenes),
            other_keys=tuple(finals.key(other, scene) for scene in scenes),
        )
        self._end(finals, best, scenes)

    def _end(self, finals: Measurer[Point], best: Point, scenes: Sequence[int]) -> None:
        """The last pictures, and what draws the first of them."""
        if finals is not self.measurer:
            self.measurer.rendered += finals.rendered
        keys, given = (tuple(finals.key(point, scene) for scene in scenes) for point in (best, AS_GIVEN))
        scene = self.plan.scenes[scenes[0]]
        job = self.plan.space.job(best, scene.prompt, scene.seed)
        models = self.options.models
        whole = models is not None and models.whole(job)
        self.final = Final(keys, given, whole, self._command(job, whole=whole))

    def _command(self, job: Job, *, whole: bool) -> str:
        options, recipe = self.options, self.options.context.recipe
        made: dict[str, Value] = {}
        if recipe is not None or (whole and job.request.adapters):
            made["recipe"] = str(options.folder / RECOMMENDED)
        if recipe is not None:
            made["step"] = recipe.step
        request = job.request if recipe is not None or not made else replace(job.request, adapters=())
        return render_command(request, options.opening, **made)

    def _write_live(self) -> None:
        now = time.monotonic()
        if now - self._written >= LIVE_SECONDS:
            if not self._written:
                page = self.options.folder / "tune.html"
                self.progress.message(f"watch {page}: it shows how far the search is")
            self.write(live=True)
            self._written = time.monotonic()

    def write(self, *, live: bool) -> TuneReport:
        """The report of what there is, and its files."""
        embed = self.options.embed and not live
        return write_tune_report(self.options.folder, self._report(live=live), embed=embed)

    def _report(self, *, live: bool) -> TuneReport:
        alive = self.alive
        space, options = self.plan.space, self.options
        ahead = front_of(alive, options.goals, options.within) if alive else []
        noise, field = _noise_of(alive), self.field
        levels = comparable(
            {n: self.measurer.table(point)[: options.most] for n, point in enumerate(self.points)}
        )
        candidates = tuple(
            self._candidate(number, levels[number], noise, front=number in ahead)
            for number in range(len(self.points))
        )
        return TuneReport(
            title=options.title,
            axes={axis.title: tuple(value.label for value in axis.values) for axis in space.axes},
            goals=tuple((goal.name, goal.up, goal.weigh, goal.slack) for goal in options.goals),
            candidates=candidates,
            front=tuple(ahead),
            top=field.top if alive else None,
            near=field.near if alive else (),
            within=options.within,
            check=self.checked,
            final=None if live else self.final,
            pictures=self.measurer.spent,
            rendered=self.measurer.rendered,
            grid_candidates=space.size,
            grid_pictures=self.plan.grid_pictures * options.first,
            pictures_of_scene=self.plan.pictures_of_scene,
            seeds=(options.first, options.most),
            error=options.error,
            size=options.request.size,
            stage=self._stage if live else "",
            budget=options.budget.pictures,
            request=options.request,
            recipe="" if live or not alive else self._recipe(self.points[field.chosen]),
        )

    def _recipe(self, point: Point) -> str:
        recipe, request = self.options.context.recipe, self.options.request
        job = self.plan.space.job(point, request.prompt, request.seed)
        return recommended_recipe(job, None if recipe is None else recipe.file, self.options.folder)

    def _shown(self, table: Values, levels: Values, noise: Noise) -> Iterator[Estimate | None]:
        """Each objective in its own sign, comparable between candidates of more and of fewer seeds, with an
        interval from the noise of all of them: two seeds of its own would say next to nothing."""
        own = estimates(table, self.options.goals)
        if not noise.freedom.any():
            yield from own
            return
        ranges = level(table, noise, self.rule, 0.05)
        for one, goal, level_, radius in zip(own, self.options.goals, levels, ranges.radius, strict=True):
            if one is None or not np.isfinite(radius):
                yield one
            else:
                mean = float(level_ if goal.up else -level_) + 0.0
                yield Estimate(mean, mean - float(radius), mean + float(radius), one.values)

    def _candidate(self, number: int, levels: Values, noise: Noise, *, front: bool) -> Candidate:
        point, options = self.points[number], self.options
        table = self.measurer.table(point)[: options.most]
        job = self.plan.space.job(point, options.request.prompt, options.request.seed)
        recipe = options.context.recipe
        return Candidate.of(
            number=number,
            labels=self.plan.space.labels(point),
            values=tuple(self._shown(table, levels, noise)),
            status="dropped" if number in self.dropped else "front" if front else "behind",
            beaten_by=self.dropped.get(number),
            keys=tuple(self.measurer.key(point, scene) for scene in range(len(table))),
            job=job,
            recipe_file=None if recipe is None else recipe.file,
        )


def _noise_of(tables: Mapping[int, Values]) -> Noise:
    """Of those with more than one seed."""
    return pooled_noise({key: table for key, table in tables.items() if len(table) > 1})
