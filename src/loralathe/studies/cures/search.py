"""The damping that takes away most bleed and keeps the likeness: levels by halving, then part by part.

Likeness falls as damping grows, and so does bleed. So one level tells of half of a ladder. On paired seeds a
level keeps the likeness surely when the interval of its difference, which holds at every look
(`tuning.racing`), lies above what may be lost, and surely not when it lies below; where the seeds do not
tell, the mean does. The ladder moves all parts at once. Then each part is tried a level higher: it stays
there if the likeness is kept and bleed is less. Nothing more is tried once there is no bleed to be seen.
Fresh seeds tell at the end what the chosen one does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from loralathe.adapters import open_adapter
from loralathe.progress import Progress
from loralathe.rendering.request import Renderer
from loralathe.studies.cures.candidates import Files
from loralathe.studies.cures.options import CureOptions, check_cure
from loralathe.studies.cures.refined import Teacher, refined_file
from loralathe.studies.cures.report import Check, CureReport, Tried, acts_without, write_cure_report
from loralathe.studies.cures.watch import AS_IS, PARTS, Copies, Point, Watcher, make_copies
from loralathe.studies.store import CellStore
from loralathe.studies.study_file import claim_folder
from loralathe.studies.tuning.goals import BLEED, LIKENESS, SLACK, estimates
from loralathe.studies.tuning.measure import Measurer
from loralathe.studies.tuning.racing import Difference, Noise, Rule, Values, difference, pooled_noise

START = (-2, 1, 0)
"""How many levels each part of `PARTS` is above the ladder: on the demo's family the text encoders lose the
likeness first, and what reads the text tells the word best."""


REFINED: Point = (-1, -1, -1)
"""Stands for the file that refining made."""


class CureRenderer(Watcher, Teacher, Renderer, Protocol):
    """A renderer of this process."""


def cure(
    options: CureOptions,
    renderer: CureRenderer,
    progress: Progress | None = None,
) -> CureReport:
    """Find the damping, and look at it on fresh seeds; files are in `options.folder`.

    Pictures and copies that are there are not made again: the same call goes on where it stopped.
    """
    progress = progress or Progress()
    for note in check_cure(options):
        progress.message(note)
    claim_folder(options.folder, options.identity, force=options.force)
    with open_adapter(options.lora, options.context.family) as adapter:
        copies = make_copies(options.watching, adapter, options.folder, renderer, progress, options.identify)
    files = Files(options.folder, Path(options.lora), copies)
    measurer = Measurer(
        options.candidates(files),
        options.scenes,
        options.goals,
        CellStore(options.folder),
        renderer,
        progress,
    )
    with progress.task("cure", total=None, unit="pictures") as task:
        search = Search(options, copies, measurer, lambda: task.advance(measurer.spent - task.done))
        chosen = search.run()
    made = None if chosen == AS_IS else Path(files(chosen))
    final = chosen
    if options.refine:
        refined, final = refined_file(options, made or Path(options.lora), renderer, progress), REFINED
        measurer.space = options.candidates(lambda one: str(refined) if one == REFINED else files(one))
        made = refined
    report = CureReport(
        lora=Path(options.lora).name,
        base=Path(options.request.checkpoint).name,
        triggers=options.triggers,
        goals=tuple((goal.name, goal.up) for goal in options.goals),
        keep=options.keep,
        strength=options.strength,
        levels=tuple(amount_of(options, level) for level in chosen),
        refined=options.refine,
        blocks=acts_without(copies, chosen),
        left=copies.left,
        tried=search.tried(),
        check=None if made is None else _check(options, measurer, final),
        made=made,
        pictures=measurer.spent,
        rendered=measurer.rendered,
        request=options.request,
        command=options.command,
    )
    return write_cure_report(options.folder, report, measurer.store)


def amount_of(options: CureOptions, level: int) -> float:
    """λ of a level."""
    return options.levels[level - 1] if level else 0.0


def _check(options: CureOptions, measurer: Measurer[Point], final: Point) -> Check | None:
    """The chosen file beside the LoRA as it is, on seeds that no choice was made by."""
    scenes = range(options.most, options.most + options.check)
    if not scenes:
        return None
    measurer.measure({AS_IS: scenes, final: scenes})
    ours, theirs = (measurer.table(point, scenes) for point in (final, AS_IS))
    jobs = [(measurer.jobs(AS_IS, scene), measurer.jobs(final, scene)) for scene in scenes]
    return Check(
        seeds=tuple(measurer.scenes[scene].seed for scene in scenes),
        before=tuple(estimates(theirs, options.goals)),
        after=tuple(estimates(ours, options.goals)),
        differences=tuple(estimates(ours - theirs, options.goals)),
        keys=tuple((a[0].key, b[0].key, a[2].key, a[1].key, b[1].key) for a, b in jobs),
    )


@dataclass
class Search:
    """A search under way."""

    options: CureOptions
    copies: Copies
    measurer: Measurer[Point]
    tick: Callable[[], None]
    kept: dict[Point, bool] = field(default_factory=dict)

    def run(self) -> Point:
        """The chosen levels; `AS_IS` where every damping loses too much."""
        low, high = 0, len(self.options.levels) + 1
        while high - low > 1:
            middle = (low + high) // 2
            if self.keeps(self.on_ladder(middle)):
                low = middle
                if self.bleed(self.on_ladder(middle)) <= SLACK:
                    break
            else:
                high = middle
        best = self.on_ladder(low) if low else AS_IS
        if best == AS_IS:
            return best
        for part in self.copies.parts:
            if self.bleed(best) <= SLACK:
                break
            raised = [level + (at == part) for at, level in enumerate(best)]
            higher: Point = (raised[0], raised[1], raised[2])
            if higher[part] > len(self.options.levels) or not self.keeps(higher):
                continue
            shared = min(len(self.measurer.table(one)) for one in (best, higher))
            if self.bleed(higher, shared) < self.bleed(best, shared):
                best = higher
        return best

    def on_ladder(self, level: int) -> Point:
        """A level of all parts, each at its place; the LoRA's lacking parts at 0."""
        most, parts = len(self.options.levels), self.copies.parts
        own = [min(max(level + START[part], 0), most) if part in parts else 0 for part in range(len(PARTS))]
        return own[0], own[1], own[2]

    def keeps(self, point: Point) -> bool:
        """Whether the likeness stays within what may be lost; seeds are added while that is open."""
        options, seeds = self.options, 0
        if point == AS_IS:
            return True
        while point not in self.kept:
            seeds = min(seeds + options.first, options.most)
            self.measurer.measure({AS_IS: range(seeds), point: range(seeds)})
            self.tick()
            gap = self.likeness_gap(point, seeds)
            low, high, mean = float(gap.low[0]), float(gap.high[0]), float(gap.mean[0])
            if low > -options.keep or high < -options.keep or seeds >= options.most:
                self.kept[point] = mean >= -options.keep
        return self.kept[point]

    def likeness_gap(self, point: Point, seeds: int) -> Difference:
        """Of a candidate to the LoRA as it is."""
        rule = Rule((0.0,), self.options.error, len(self.options.levels))
        tables = {at: self._likeness(one, seeds) for at, one in enumerate([AS_IS, point, *self.kept])}
        noise = pooled_noise({at: table for at, table in tables.items() if len(table) == seeds})
        return difference(tables[1], tables[0], noise if len(tables) > 2 else Noise.none(1), rule)

    def bleed(self, point: Point, seeds: int | None = None) -> float:
        """The mean over the first seeds; without a number, over all of the search that it has."""
        column = self.measurer.table(point)[: seeds or self.options.most, self._place(BLEED)]
        told = column[~np.isnan(column)]
        return float(-told.mean()) if len(told) else 0.0

    def tried(self) -> tuple[Tried, ...]:
        """All candidates that were looked at, the LoRA as it is first."""
        options = self.options
        found = []
        for point in [AS_IS, *self.kept] if self.kept else []:
            table = self.measurer.table(point)[: options.most]
            gap = None if point == AS_IS else self.likeness_gap(point, len(table))
            lost = None if gap is None else (float(gap.mean[0]), float(gap.radius[0]))
            levels = tuple(amount_of(options, level) for level in point)
            values = tuple(estimates(table, options.goals))
            found.append(Tried(levels, len(table), values, lost, self.kept.get(point, True)))
        return tuple(found)

    def _likeness(self, point: Point, seeds: int) -> Values:
        at = self._place(LIKENESS)
        values: Values = self.measurer.table(point)[:seeds, at : at + 1]
        return values

    def _place(self, name: str) -> int:
        return [goal.name for goal in self.options.goals].index(name)
