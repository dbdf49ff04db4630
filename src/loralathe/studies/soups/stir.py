"""A soup by likeness: each epoch on paired seeds, then the best one and whatever makes it surely better.

The greedy soup of Wortsman et al. 2022 ("Model soups", recipe 1), with two changes: candidates are compared
by paired differences of pictures instead of an accuracy, and an epoch joins only when the soup is surely to
be preferred with it: by the rule of a search (`tuning.choose`), with intervals that hold at every look
(`tuning.racing`). So the soup is never worse than the best single epoch by choice; whether it is better is
told on fresh seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from loralathe.errors import InputError, option
from loralathe.progress import Progress
from loralathe.rendering.request import ImageRequest, Renderer
from loralathe.studies.context import Context
from loralathe.studies.measured import NO_CARD, CardFile
from loralathe.studies.plan import Identify, file_identity
from loralathe.studies.soups.mixes import WRITTEN, Mix, Mixes, equal, single
from loralathe.studies.soups.report import (
    Check,
    Epoch,
    Estimates,
    Gain,
    SoupReport,
    Step,
    Verdict,
    write_soup_report,
)
from loralathe.studies.store import CellStore
from loralathe.studies.study_file import Identity, claim_folder, foreign_folder_note, identity_of
from loralathe.studies.tuning.choose import Field, field_of, is_no_better, is_preferred, two_columns
from loralathe.studies.tuning.goals import SLACK, Goal, estimates
from loralathe.studies.tuning.measure import Measurer
from loralathe.studies.tuning.racing import Noise, Rule, Values, difference, pooled_noise
from loralathe.studies.tuning.space import Scene, make_scenes

DEFAULT_CONTEXT = Context()
Make = Callable[[Mix], Path | None]
"""Writes a mix as it will be kept; None where it is kept as it is."""


@dataclass(frozen=True)
class SoupOptions:
    """Everything about a soup that is looked at.

    request: what all pictures have in common; its prompt holds the trigger words.  epochs: files, in order.
    strength: of the soup in pictures.  mix: weights that are given; None: found.
    also, goals, triggers, first, most, check, within, error: as for a search (`TuneOptions`).
    card: the file of the identity card, for the record of what is written.
    """

    request: ImageRequest
    folder: Path
    epochs: tuple[str, ...]
    goals: tuple[Goal, ...]
    strength: float = 1.0
    mix: Mix | None = None
    also: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    card: CardFile = NO_CARD
    first: int = 4
    most: int = 24
    check: int = 12
    within: float = SLACK
    error: float = 0.05
    context: Context = DEFAULT_CONTEXT
    force: bool = False
    identify: Identify = file_identity

    @property
    def of_scene(self) -> int:
        """Pictures of one mix in a scene, those of the base not counted."""
        return 2 if any(goal.plain for goal in self.goals) else 1

    @property
    def most_pictures(self) -> int:
        """More than these are never made."""
        count = len(self.epochs)
        mixes = count if self.mix is not None else 2 * count - 1
        bare = (self.most + self.check) * (self.of_scene - 1)
        return (mixes * self.most + 2 * self.check) * self.of_scene + bare


def identity(options: SoupOptions) -> Identity:
    """What the folder remembers of the study."""
    names = [Path(file).name for file in options.epochs]
    return identity_of("soup", options.folder, options.request, [options.request], {"epochs": names})


def check_soup(options: SoupOptions) -> tuple[str, ...]:
    """Raise InputError for what can be told now; notes of what is odd."""
    if options.first < 2 or options.most < options.first:
        raise InputError(
            "a candidate begins on 2 seeds at least, and none gets fewer later",
            where=f"{option('first_seeds', options.first)}, {option('most_seeds', options.most)}",
        )
    mixes = _mixes(options)
    mixes.job(equal(len(options.epochs), range(len(options.epochs))), options.request.prompt, 0)
    _scenes(options)
    return tuple(foreign_folder_note(options.folder, identity(options), force=options.force))


def _mixes(options: SoupOptions) -> Mixes:
    request = options.request
    return Mixes(
        request, options.epochs, options.strength, options.context, cache(options.identify),
        request.checkpoint,
    )  # fmt: skip


def _scenes(options: SoupOptions) -> tuple[Scene, ...]:
    prompts = (options.request.prompt, *options.also)
    return make_scenes(prompts, options.triggers, options.request.seed, options.most + options.check)


def stir(
    options: SoupOptions, renderer: Renderer, make: Make, progress: Progress | None = None
) -> SoupReport:
    """Find the soup, and look at it beside the best single epoch; files are in `options.folder`.

    Pictures that are there are not rendered again: the same call goes on where it stopped.
    """
    progress = progress or Progress()
    for note in check_soup(options):
        progress.message(note)
    claim_folder(options.folder, identity(options), force=options.force)
    store, scenes = CellStore(options.folder), _scenes(options)
    measurer = Measurer(_mixes(options), scenes, options.goals, store, renderer, progress)
    with progress.task("soup", total=None, unit="pictures") as task:
        return _Pot(options, measurer, lambda: task.advance(measurer.spent - task.done)).cook(make)


@dataclass
class _Pot:
    """A soup under way."""

    options: SoupOptions
    measurer: Measurer[Mix]
    tick: Callable[[], None]
    tried: set[Mix] = field(default_factory=set)

    def cook(self, make: Make) -> SoupReport:
        options, count = self.options, len(self.options.epochs)
        singles = [single(count, at) for at in range(count)]
        self._look_at(singles)
        alone = self._field(singles)
        best = alone.chosen
        order = [best, *(at for at in alone.order if at != best)]
        steps: list[Step] = []
        mix = options.mix
        if mix is None:
            members = [order[0]]
            for at in order[1:]:
                step = self._taste(members, at)
                steps.append(step)
                members += [at] * (step.verdict is Verdict.JOINS)
            mix = equal(count, members)
        made = make(mix)
        report = SoupReport(
            epochs=tuple(
                Epoch(options.epochs[at], mix[at], alone.standings[at].seeds, self._estimates(one))
                for at, one in enumerate(singles)
            ),
            goals=tuple((goal.name, goal.up, goal.weigh) for goal in options.goals),
            within=options.within,
            best=best,
            steps=tuple(steps),
            given=options.mix is not None,
            check=self._check(mix, singles[best], made),
            pictures=self.measurer.spent,
            rendered=self.measurer.rendered,
            request=options.request,
            strength=options.strength,
            prompts=(options.request.prompt, *options.also),
            card=options.card,
            cut=made is not None,
        )
        return write_soup_report(options.folder, report, self.measurer.store)

    def _measure(self, *mixes: Mix, seeds: int) -> None:
        self.measurer.measure({mix: range(seeds) for mix in mixes})
        self.tried.update(mixes)
        self.tick()

    def _look_at(self, singles: list[Mix]) -> None:
        """Each epoch on the first seeds; more for those that luck may have kept behind the leader."""
        options = self.options
        for mix in singles:
            self._measure(mix, seeds=options.first)
        while (at := self._field(singles).next_to_measure(options.most)) is not None:
            seeds = len(self.measurer.table(singles[at])) + options.first
            self._measure(singles[at], seeds=min(seeds, options.most))

    def _field(self, mixes: list[Mix]) -> Field:
        tables = {at: self.measurer.table(mix)[: self.options.most] for at, mix in enumerate(mixes)}
        return field_of(tables, self.options.goals, self.options.within)

    def _taste(self, members: list[int], at: int) -> Step:
        """Whether the soup with one epoch more is surely to be preferred."""
        options, count = self.options, len(self.options.epochs)
        soup, more = equal(count, members), equal(count, [*members, at])
        rule = Rule((0.0, 0.0), options.error, count)
        seeds, verdict = 0, Verdict.UNSURE
        while verdict is Verdict.UNSURE and seeds < options.most:
            seeds = min(seeds + options.first, options.most)
            self._measure(soup, more, seeds=seeds)
            gap = difference(self._columns(more, seeds), self._columns(soup, seeds), self._noise(), rule)
            if is_preferred(gap, options.within):
                verdict = Verdict.JOINS
            elif is_no_better(gap, options.within):
                verdict = Verdict.WORSE
        gains = [
            Gain(float(mean), *(float(end) if np.isfinite(end) else None for end in (low, high)))
            for mean, low, high in zip(gap.mean, gap.low, gap.high, strict=True)
        ]
        others = any(goal.weigh > 0 for goal in options.goals[1:])
        return Step(at, tuple(members), verdict, gains[0], gains[1] if others else None, seeds)

    def _columns(self, mix: Mix, seeds: int | None = None) -> Values:
        """(seeds, 2): the first goal and the sum of the others; NaN where a picture tells nothing."""
        return two_columns(self.measurer.table(mix)[: seeds or self.options.most], self.options.goals)

    def _noise(self) -> Noise:
        return pooled_noise({at: self._columns(mix) for at, mix in enumerate(sorted(self.tried))})

    def _estimates(self, mix: Mix) -> Estimates:
        return tuple(estimates(self.measurer.table(mix)[: self.options.most], self.options.goals))

    def _check(self, mix: Mix, best: Mix, made: Path | None) -> Check | None:
        """The soup as it will be kept beside the best epoch, on seeds that no choice was made by."""
        options = self.options
        scenes = range(options.most, options.most + options.check)
        soup = mix
        if made is not None:
            assert isinstance(self.measurer.space, Mixes)
            self.measurer.space = replace(self.measurer.space, written=str(made))
            soup = WRITTEN
        if not scenes or soup == best:
            return None
        self.measurer.measure({soup: scenes, best: scenes})
        self.tick()
        ours, theirs = (self.measurer.table(one, scenes) for one in (soup, best))
        return Check(
            seeds=tuple(self.measurer.scenes[scene].seed for scene in scenes),
            values=tuple(estimates(ours, options.goals)),
            best_values=tuple(estimates(theirs, options.goals)),
            differences=tuple(estimates(ours - theirs, options.goals)),
            keys=tuple(self.measurer.key(soup, scene) for scene in scenes),
            best_keys=tuple(self.measurer.key(best, scene) for scene in scenes),
            cut=made is not None,
        )
