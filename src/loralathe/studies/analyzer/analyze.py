"""`analyze_blocks`: n + 1 pictures a seed, each measured against the source. `lathe blocks` calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePath
from typing import TypeAlias

from PIL.Image import Image

from loralathe.errors import InputError, about
from loralathe.likeness.card import Card
from loralathe.likeness.intervals import Estimate, estimate
from loralathe.progress import Progress
from loralathe.rendering.prompts import lift_tags
from loralathe.rendering.request import ImageRequest, Renderer
from loralathe.strengths import REST, AdapterUse, BlockText, show_number
from loralathe.studies.analyzer.options import (
    BlocksOptions,
    Group,
    first_cut,
    halves,
    merged_group,
    read_groups,
    read_range,
)
from loralathe.studies.analyzer.report import (
    BlockEffect,
    BlockReport,
    full_weight,
    suggested_weight,
    weights_to_paste,
)
from loralathe.studies.analyzer.write import write_report
from loralathe.studies.card_scores import likeness_of, look
from loralathe.studies.cell_builder import MARKS, CellBuilder, find_adapter, pull_tags, spell_out
from loralathe.studies.commands import cell_recipe
from loralathe.studies.context import Context
from loralathe.studies.metrics import SSIM_WINDOW, changed_percentage, gmsd, pixels_of, ssim
from loralathe.studies.plan import Job, request_key
from loralathe.studies.store import CellStore, render_missing
from loralathe.studies.study_file import Identity, claim_folder, identity_of

Cuts: TypeAlias = list[tuple[Group, ...]]


@dataclass(frozen=True)
class Study:
    """An analysis under way: the request with its adapter found, the range, the seeds."""

    options: BlocksOptions
    request: ImageRequest
    index: int
    examined: float
    others: float
    seeds: tuple[int, ...]

    @property
    def adapter(self) -> AdapterUse:
        return self.request.adapters[self.index]

    def job(self, blocks: Sequence[str], seed: int) -> Job:
        """The picture with the examined weight at `blocks`; none is the source."""
        text = BlockText(None, ((REST, show_number(self.others)),)).replaced(blocks, self.examined).text()
        use = replace(self.adapter, blocks=text)
        adapters = (*self.request.adapters[: self.index], use, *self.request.adapters[self.index + 1 :])
        request = replace(self.request, adapters=adapters, seed=seed)
        drawn_by = self.options.context.drawn_by
        return Job(request_key(request, self.options.identify, drawn_by=drawn_by), request, (), ())


def analyze_blocks(
    options: BlocksOptions, renderer: Renderer, progress: Progress | None = None
) -> BlockReport:
    """Examine every block in `options.folder`; pictures that are already there are not rendered again.

    Raises InputError for mistakes in range, blocks or adapter before anything is rendered. On Ctrl-C finished
    pictures are kept and KeyboardInterrupt goes on.
    """
    progress = progress or Progress()
    study = begin_study(options)
    groups, lacking = read_groups(options)
    if options.card is not None:
        options.card.check()
    claim_folder(options.folder, identity(study, groups), force=options.force)
    for issue in lift_tags(options.request.prompt).issues:
        progress.message(str(issue))
    if lacking:
        progress.message(f"not in this family and left out: {' '.join(lacking)}")
    cuts: Cuts = first_cut(groups) if options.coarse else [(group,) for group in groups]
    pictures = (len(cuts) + 1) * len(study.seeds)
    seeds = f"{len(study.seeds)} seed{'s' if len(study.seeds) > 1 else ''}"
    what, first = ("groups", " at first") if options.coarse else ("blocks", "")
    progress.message(f"{len(cuts)} {what} and the source, {seeds}: {pictures} pictures{first}")
    search = _search(study, cuts, renderer, progress)
    report = _report(study, _in_order(search.effects, groups), lacking, search)
    if options.card is not None:
        report = by_card(report, options.card, CellStore(options.folder), progress)
    return write_report(options, report, CellStore(options.folder), progress)


def begin_study(options: BlocksOptions) -> Study:
    """The adapter and the range found; InputError for mistakes in them."""
    examined, others = read_range(options.range)
    options = replace(options, identify=cache(options.identify))
    cell = pull_tags(CellBuilder(options.request), options.context)
    with about("adapter"):
        index = _adapter_index(cell.request, options.adapter)
    if min(options.request.size) < SSIM_WINDOW:
        raise InputError(
            "pictures this small cannot be analysed",
            where="×".join(map(str, options.request.size)),
            fix="take at least 16×16",
        )
    seeds = tuple(options.request.seed + offset for offset in range(max(1, options.seeds)))
    return Study(options, _unmarked(cell, options.context), index, examined, others, seeds)


def identity(study: Study, groups: Sequence[Group]) -> Identity:
    """What makes this analysis another one; more seeds and other blocks go on in the same folder."""
    return identity_of(
        "blocks",
        study.options.folder,
        study.request,
        [study.request],
        {"blocks": [group.name for group in groups]},
        adapter=PurePath(study.adapter.file).stem,
        range=f"{show_number(study.examined)},{show_number(study.others)}",
        **study.options.context.facts,
    )


def _adapter_index(request: ImageRequest, name: str) -> int:
    marked = [i for i, use in enumerate(request.adapters) if (use.blocks or "").upper() in MARKS]
    return marked[0] if not name and len(marked) == 1 else find_adapter(request, name)


def _unmarked(cell: CellBuilder, context: Context) -> ImageRequest:
    """Adapters beside the examined one may carry the mark too; it means 1 everywhere there."""
    adapters = tuple(
        spell_out(replace(use, blocks=None) if (use.blocks or "").upper() in MARKS else use, context)
        for use in cell.request.adapters
    )
    return replace(cell.request, adapters=adapters)


@dataclass(frozen=True)
class Search:
    """The effects that a search found, the keys of its pictures, and how many were rendered for it."""

    effects: tuple[BlockEffect, ...]
    looked_at: frozenset[str]
    rendered: int


def _search(study: Study, cuts: Cuts, renderer: Renderer, progress: Progress) -> Search:
    """Examine the cuts and halve those that matter, to single groups; all seeds of a round in one go."""
    store = CellStore(study.options.folder)
    done: list[BlockEffect] = []
    looked_at: set[str] = set()
    rendered, strongest = 0, None
    while cuts:
        wanted = [(blocks, seed) for seed in study.seeds for blocks in ((), *map(_blocks, cuts))]
        jobs = [study.job(*one) for one in wanted]
        labels = {
            job.key: (" ".join(one[0]), f"seed {one[1]}") for job, one in zip(jobs, wanted, strict=True)
        }

        def tell(key: str, image: Image, labels: dict[str, tuple[str, str]] = labels) -> None:
            index = list(labels).index(key)
            progress.cell("blocks", index, len(labels), str(store.picture(key)), labels[key])

        looked_at.update(job.key for job in jobs)
        rendered += render_missing(_distinct(jobs), store, renderer, progress, on_cell=tell)
        effects = [_measure(study, merged_group(cut), store) for cut in cuts]
        if strongest is None:
            strongest = max(effect.changed.mean for effect in effects)
        following: Cuts = []
        for cut, effect in zip(cuts, effects, strict=True):
            matters = (
                effect.changed.mean > 0 and effect.changed.mean >= study.options.coarse_floor * strongest
            )
            if len(cut) > 1 and matters:
                following += halves(cut)
            else:
                done.append(effect)
        cuts = following
    return Search(tuple(done), frozenset(looked_at), rendered)


def _blocks(cut: tuple[Group, ...]) -> tuple[str, ...]:
    return merged_group(cut).blocks


def _distinct(jobs: Sequence[Job]) -> list[Job]:
    return list({job.key: job for job in jobs}.values())


def _measure(study: Study, group: Group, store: CellStore) -> BlockEffect:
    changed, similar, perceived, keys = [], [], [], []
    for seed in study.seeds:
        source = pixels_of(store.open(study.job((), seed).key))
        key = study.job(group.blocks, seed).key
        test = pixels_of(store.open(key))
        changed.append(changed_percentage(test, source, study.options.threshold))
        similar.append(ssim(test, source))
        perceived.append(gmsd(test, source))
        keys.append(key)
    return BlockEffect(group, estimate(changed), estimate(similar), estimate(perceived), tuple(keys), 0.0)


def _in_order(effects: Sequence[BlockEffect], groups: Sequence[Group]) -> list[BlockEffect]:
    place = {group.blocks[0]: index for index, group in reversed(list(enumerate(groups)))}
    return sorted(effects, key=lambda effect: place[effect.group.blocks[0]])


def by_card(report: BlockReport, card: Card, store: CellStore, progress: Progress) -> BlockReport:
    """What each block does to the likeness, seed by seed; pictures in which nobody is seen say nothing."""
    keys = dict.fromkeys([*report.sources, *(key for effect in report.effects for key in effect.keys)])
    found = likeness_of(card, look(card, list(keys), store, progress))
    sources = [found[key] for key in report.sources]

    def change(effect: BlockEffect) -> Estimate | None:
        pairs = zip((found[key] for key in effect.keys), sources, strict=True)
        differences = [test - source for test, source in pairs if test is not None and source is not None]
        return estimate(differences) if differences else None

    seen = [value for value in sources if value is not None]
    effects = tuple(replace(effect, likeness=change(effect)) for effect in report.effects)
    return replace(report, effects=effects, likeness=estimate(seen) if seen else None)


def _report(
    study: Study, effects: list[BlockEffect], lacking: tuple[str, ...], search: Search
) -> BlockReport:
    strongest = max((effect.changed.mean for effect in effects), default=0.0)
    weighed = tuple(
        replace(e, weight=suggested_weight(e.changed.mean, strongest, study.examined, study.others))
        for e in effects
    )
    as_list, by_name = weights_to_paste(weighed, study.examined, study.others)
    full = full_weight(study.examined, study.others)
    te, unet = (round(strength * full, 6) for strength in (study.adapter.te, study.adapter.unet))
    use = replace(study.adapter, te=te, unet=unet, blocks=as_list or by_name)
    merged = replace(study.request, adapters=(use,))
    return BlockReport(
        adapter=PurePath(study.adapter.file).stem,
        examined=study.examined,
        others=study.others,
        threshold=study.options.threshold,
        seeds=study.seeds,
        sources=tuple(study.job((), seed).key for seed in study.seeds),
        effects=weighed,
        lacking=lacking,
        rendered=search.rendered,
        pictures=len(search.looked_at),
        strength=full,
        weights_list=as_list,
        weights_by_name=by_name,
        recipe=cell_recipe(merged),
    )
