"""`find_segments`: each segment alone and left out, halves of those that matter, until the order is certain.

A segment is a run of neighbouring blocks of one stage. Two pictures tell what it does on a seed:

    alone    effect(only this segment acts, the base without the LoRA)
    without  effect(the whole LoRA, all of it but this segment)

The first says what it can do by itself, the second what nothing else can do in its place; their mean is its
value (of all orders in which segments can be added these are the first and the last place; the mean over all
orders would be Shapley's value). An effect is the rise of likeness, or, without a card, how much of the
picture changes. A segment whose value is surely above 0 and not small beside the strongest is halved, down to
single blocks. Segments get more seeds, the same for all, until each is surely apart from the next one, or
surely no more than the slack away from it, or both are surely small (`tuning/racing.py`: the intervals hold
at all looks together).

Two segments *compensate* when leaving out both costs more than leaving out each: one does the other's work.
That is looked for among those that do more alone than they are missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations, pairwise
from pathlib import PurePath

import numpy as np
from PIL.Image import Image

from loralathe.errors import InputError, option
from loralathe.progress import Progress
from loralathe.rendering.prompts import lift_tags
from loralathe.rendering.request import Renderer
from loralathe.studies.analyzer.analyze import Study, begin_study
from loralathe.studies.analyzer.options import (
    BlocksOptions,
    Group,
    first_cut,
    halves,
    merged_group,
    read_groups,
)
from loralathe.studies.metrics import changed_percentage, pixels_of
from loralathe.studies.plan import Job
from loralathe.studies.segments.report import Pair, Segment, SegmentsReport, write_segments
from loralathe.studies.store import CellStore, render_missing
from loralathe.studies.study_file import Identity, claim_folder, identity_of
from loralathe.studies.tuning.goals import PersonCard
from loralathe.studies.tuning.racing import Difference, Noise, Rule, Values, difference, level, pooled_noise

Cut = tuple[Group, ...]
FLOOR = 0.1
"""Part of the strongest segment's value below which a segment is left whole."""
MOST_PAIRS = 10


@dataclass(frozen=True)
class SegmentsOptions:
    """Everything about a search of segments.

    blocks: the analysis that it stands beside: request, folder, adapter, which blocks; its range is not used.
    card: likeness is the effect; None: how much of the picture changes.
    first, most: seeds at the beginning, and at the end;  slack: values this near count as equal.
    error: chance that any of the certain places in the order is wrong.
    """

    blocks: BlocksOptions
    card: PersonCard | None = None
    first: int = 2
    most: int = 16
    slack: float = 0.02
    error: float = 0.05


@dataclass(frozen=True)
class SegmentsPlan:
    """The first segments, and how many pictures they take at least."""

    cuts: tuple[tuple[str, ...], ...]
    pictures: int
    issues: tuple[str, ...]


def plan_segments(options: SegmentsOptions) -> SegmentsPlan:
    """What is examined first. Raises InputError for mistakes in blocks, adapter and numbers of seeds."""
    study, cuts = _begin(options)
    pictures = options.first * (2 + 2 * len(cuts))
    issues = tuple(str(issue) for issue in lift_tags(study.options.request.prompt).issues)
    return SegmentsPlan(tuple(merged_group(cut).blocks for cut in cuts), pictures, issues)


def find_segments(
    options: SegmentsOptions, renderer: Renderer, progress: Progress | None = None
) -> SegmentsReport:
    """Search in the folder of the analysis; pictures that are there are not rendered again.

    On Ctrl-C finished pictures are kept and KeyboardInterrupt goes on.
    """
    progress = progress or Progress()
    study, cuts = _begin(options)
    claim_folder(study.options.folder, _identity(study), force=study.options.force)
    search = Search(options, study, CellStore(study.options.folder), renderer, progress)
    with progress.task("segments", total=None, unit="pictures") as task:
        search.tick = lambda: task.advance(len(search.looked_at) - task.done)
        search.run(cuts)
    return write_segments(study.options.folder, search.report(), embed=study.options.embed)


def _begin(options: SegmentsOptions) -> tuple[Study, list[Cut]]:
    if options.first < 2 or options.most < options.first:
        raise InputError(
            "a segment begins on 2 seeds at least, and none gets fewer later",
            where=f"{option('seeds', options.first)}, {option('most_seeds', options.most)}",
        )
    blocks = replace(options.blocks, range="1,0", identify=cache(options.blocks.identify))
    study = begin_study(blocks)
    groups, _ = read_groups(blocks)
    if len(groups) < 2:
        raise InputError("one block has no segments", fix="name more blocks, or leave the option out")
    return study, first_cut(groups)


def _identity(study: Study) -> Identity:
    return identity_of(
        "segments",
        study.options.folder,
        study.request,
        [study.request],
        {},
        adapter=PurePath(study.adapter.file).stem,
    )


@dataclass
class Search:
    """A search under way: (alone, without) of each segment on each seed."""

    options: SegmentsOptions
    study: Study
    store: CellStore
    renderer: Renderer
    progress: Progress
    tick: Callable[[], None] = lambda: None
    looked_at: set[str] = field(default_factory=set)
    rendered: int = 0
    _rows: dict[Cut, list[tuple[float, float]]] = field(default_factory=dict)

    def run(self, cuts: list[Cut]) -> None:
        """Halve what matters; then more seeds until the order is certain."""
        self.cuts = list(cuts)
        self._measure(dict.fromkeys(self.cuts, self.options.first))
        while large := [cut for cut in self.cuts if len(cut) > 1 and self._matters(cut)]:
            for cut in large:
                at = self.cuts.index(cut)
                self.cuts[at : at + 1] = halves(cut)
            self._measure(dict.fromkeys(self.cuts, self.options.first))
        while unclear := self._unclear():
            counts = {cut: len(self._rows[cut]) for cut in unclear}
            least = min(counts.values())
            if least >= self.options.most:
                break
            self._measure(
                {
                    cut: min(least + self.options.first, self.options.most)
                    for cut, count in counts.items()
                    if count == least
                }
            )
        self.pairs = self._compensating()

    def table(self, cut: Cut) -> Values:
        """(seeds, 2): alone and without."""
        return np.array(self._rows[cut], dtype=np.float64)

    def value(self, cut: Cut) -> Values:
        """(seeds, 1): the mean of both."""
        value: Values = self.table(cut).mean(1, keepdims=True)
        return value

    @property
    def rule(self) -> Rule:
        return Rule((self.options.slack,), self.options.error, max(2, len(self.cuts)))

    def _noise(self) -> Noise:
        return pooled_noise({n: self.value(cut) for n, cut in enumerate(self.cuts)})

    def _apart(self, one: Cut, other: Cut) -> Difference:
        return difference(self.value(one), self.value(other), self._noise(), self.rule)

    def _matters(self, cut: Cut) -> bool:
        """Surely above 0, and not small beside the strongest; seeds are added while that is open."""
        while True:
            own = self._own(cut)
            if float(own.mean[0]) < FLOOR * self._strongest or self._is_small(cut):
                return False
            if float(own.low[0]) > 0:
                return True
            if len(self._rows[cut]) >= self.options.most:
                return False
            self._measure({cut: min(len(self._rows[cut]) + self.options.first, self.options.most)})

    @property
    def _strongest(self) -> float:
        return max(float(self.value(cut).mean()) for cut in self.cuts)

    def _own(self, cut: Cut) -> Difference:
        """The value itself, as a difference from nothing."""
        return level(self.value(cut), self._noise(), self.rule)

    def _is_small(self, cut: Cut) -> bool:
        """Surely not worth looking at: which of two such comes first is of no use to anybody."""
        return float(self._own(cut).high[0]) <= max(self.options.slack, FLOOR * self._strongest)

    @property
    def order(self) -> list[Cut]:
        """The most value first."""
        return sorted(self.cuts, key=lambda cut: -float(self.value(cut).mean()))

    def is_certain(self, one: Cut, other: Cut) -> bool:
        """Whether the first is surely above the second, or surely as good as equal, or both are surely
        small.
        """
        if self._is_small(one) and self._is_small(other):
            return True
        gap, slack = self._apart(one, other), self.options.slack
        low, high = float(gap.low[0]), float(gap.high[0])
        return low > 0 or (-slack < low and high < slack)

    def _unclear(self) -> set[Cut]:
        return {
            cut
            for one, other in pairwise(self.order)
            if not self.is_certain(one, other)
            for cut in (one, other)
        }

    def _measure(self, wanted: dict[Cut, int]) -> None:
        everything = self._all()
        missing = [
            (cut, at) for cut, count in wanted.items() for at in range(len(self._rows.get(cut, [])), count)
        ]
        named = {
            one: (
                self._job(_blocks(one[0]), one[1]),
                self._job((), one[1]),
                self._job(everything, one[1]),
                self._job(_others(everything, one[0]), one[1]),
            )
            for one in missing
        }
        self._render([job for jobs in named.values() for job in jobs])
        for cut, at in missing:
            alone, none, whole, without = (self.store.open(job.key) for job in named[cut, at])
            effects = (self._effect(alone, none), self._effect(whole, without))
            self._rows.setdefault(cut, []).append(effects)
        self.tick()

    def _render(self, jobs: Sequence[Job]) -> None:
        distinct = list({job.key: job for job in jobs}.values())
        self.looked_at.update(job.key for job in distinct)
        self.rendered += render_missing(distinct, self.store, self.renderer, self.progress)

    def _effect(self, after: Image, before: Image) -> float:
        """How much more of the person, or how much of the picture changes, as a share."""
        card = self.options.card
        if card is None:
            return changed_percentage(pixels_of(after), pixels_of(before), self.study.options.threshold) / 100
        one, other = card.likeness([after, before])
        return (one or 0.0) - (other or 0.0)

    def _all(self) -> tuple[str, ...]:
        return tuple(block for cut in self.cuts for block in _blocks(cut))

    def _job(self, blocks: Sequence[str], at: int) -> Job:
        return self.study.job(blocks, (self.study.options.request.seed + at) % 2**64)

    def _compensating(self) -> list[tuple[Cut, Cut, Values]]:
        """Pairs among those that do more alone than they are missed: what leaving out both costs beyond the
        sum of what leaving out each costs, (seeds,)."""
        everything = self._all()
        spare = {cut: float(np.subtract(*self.table(cut).mean(0))) for cut in self.cuts}
        most = sorted(
            (cut for cut in self.cuts if spare[cut] > self.options.slack), key=lambda cut: -spare[cut]
        )
        found = []
        for one, other in list(combinations(most, 2))[:MOST_PAIRS]:
            count = min(len(self._rows[one]), len(self._rows[other]))
            both = (*one, *other)
            jobs = [self._job(_others(everything, both), at) for at in range(count)]
            self._render(jobs)
            whole = [self.store.open(self._job(everything, at).key) for at in range(count)]
            left = [self.store.open(job.key) for job in jobs]
            together = np.array([self._effect(a, b) for a, b in zip(whole, left, strict=True)])
            apart = self.table(one)[:count, 1] + self.table(other)[:count, 1]
            found.append((one, other, together - apart))
            self.tick()
        return found

    def report(self) -> SegmentsReport:
        """What was found, in order of value; intervals hold for each value by itself, at all looks."""
        order, noise = self.order, self._noise()
        shown = {cut: level(self.value(cut), noise, self.rule, 0.05) for cut in order}
        certain = [self.is_certain(one, other) for one, other in pairwise(order)] + [True]
        segments = tuple(
            Segment.of(
                merged_group(cut).name,
                _blocks(cut),
                self.table(cut),
                interval=(float(shown[cut].low[0]), float(shown[cut].high[0])),
                certain=sure,
                keys=(self._job(_blocks(cut), 0).key, self._job(_others(self._all(), cut), 0).key),
            )
            for cut, sure in zip(order, certain, strict=True)
        )
        pairs = tuple(
            Pair.of(merged_group(one).name, merged_group(other).name, extra)
            for one, other, extra in self.pairs
        )
        return SegmentsReport.of(
            self.study,
            segments,
            tuple(pair for pair in pairs if pair.extra.mean > 0),
            base=self._job((), 0).key,
            whole=self._job(self._all(), 0).key,
            likeness=self.options.card is not None,
            pictures=len(self.looked_at),
            rendered=self.rendered,
            error=self.options.error,
        )


def _blocks(cut: Cut) -> tuple[str, ...]:
    return merged_group(cut).blocks


def _others(everything: Sequence[str], cut: Cut) -> tuple[str, ...]:
    return tuple(block for block in everything if block not in _blocks(cut))
