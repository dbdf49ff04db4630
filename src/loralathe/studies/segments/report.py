"""The result of a search of segments: values, weights to paste, pairs; and its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path, PurePath
from statistics import fmean

from loralathe.families import is_encoder_block
from loralathe.likeness.intervals import Estimate, estimate
from loralathe.studies.analyzer.analyze import Study
from loralathe.studies.analyzer.options import Group
from loralathe.studies.analyzer.report import BlockEffect, suggested_weight, weights_to_paste
from loralathe.studies.commands import CellRecipe, cell_recipe
from loralathe.studies.page.build import fill_page, picture_source
from loralathe.studies.study_file import csv_file, csv_number, json_file
from loralathe.studies.tuning.racing import Values
from loralathe.tensorfiles import write_whole


@dataclass(frozen=True)
class Segment:
    """Blocks that stay together, and what they do; see `search.py`.

    certain: whether it is surely apart from the next one in the order, or surely equal to it.
    weight: to start from, 0 to 1.  keys: its pictures on the first seed, alone and left out.
    """

    name: str
    blocks: tuple[str, ...]
    alone: Estimate
    without: Estimate
    value: Estimate
    certain: bool
    keys: tuple[str, str]
    weight: float = 0.0

    @classmethod
    def of(
        cls,
        name: str,
        blocks: tuple[str, ...],
        table: Values,
        *,
        interval: tuple[float, float],
        certain: bool,
        keys: tuple[str, str],
    ) -> Segment:
        """From (seeds, 2): alone and without. interval: that of the value, where it is finite."""
        alone, without = ([float(value) + 0.0 for value in column] for column in table.T)
        values = tuple(float(value) + 0.0 for value in table.mean(1))
        low, high = interval if isfinite(interval[1]) else (None, None)
        value = Estimate(fmean(values), low, high, values)
        return cls(name, blocks, estimate(alone), estimate(without), value, certain, keys)


@dataclass(frozen=True)
class Pair:
    """Two segments of which one does the other's work: what leaving out both costs beyond the sum of each."""

    one: str
    other: str
    extra: Estimate

    @classmethod
    def of(cls, one: str, other: str, extra: Values) -> Pair:
        """From what each seed says, (seeds,)."""
        return cls(one, other, estimate([float(value) for value in extra]))

    @property
    def is_sure(self) -> bool:
        """Whether the 95 % interval lies above 0."""
        return self.extra.low is not None and self.extra.low > 0


@dataclass(frozen=True)
class SegmentsReport:
    """Segments, the most value first.

    likeness: whether values are of likeness; else of how much of the picture changes.  Both are shares.
    weights_list, weights_by_name: to paste, None where the blocks make up no list.
    base, whole: pictures on the first seed without the LoRA and with all of it.
    """

    adapter: str
    likeness: bool
    segments: tuple[Segment, ...]
    pairs: tuple[Pair, ...]
    weights_list: str | None
    weights_by_name: str
    recipe: CellRecipe | None
    base: str
    whole: str
    pictures: int
    rendered: int
    blocks: int
    error: float
    size: tuple[int, int]
    prompt: str
    title: str
    files: tuple[Path, ...] = ()

    @classmethod
    def of(
        cls,
        study: Study,
        segments: tuple[Segment, ...],
        pairs: tuple[Pair, ...],
        *,
        base: str,
        whole: str,
        likeness: bool,
        pictures: int,
        rendered: int,
        error: float,
    ) -> SegmentsReport:
        """With weights: 1 for half of the strongest value or more, less for less, 0 for none."""
        strongest = max((one.value.mean for one in segments), default=0.0)
        weighed = tuple(
            replace(one, weight=suggested_weight(max(0.0, one.value.mean), strongest, 1.0, 0.0))
            for one in segments
        )
        place = study.options.context.family.long_blocks.index
        as_list, by_name = _to_paste(sorted(weighed, key=lambda one: _place(one, place)))
        use = replace(study.adapter, blocks=as_list or by_name)
        return cls(
            adapter=PurePath(study.adapter.file).stem,
            likeness=likeness,
            segments=weighed,
            pairs=pairs,
            weights_list=as_list,
            weights_by_name=by_name,
            recipe=cell_recipe(replace(study.request, adapters=(use,))),
            base=base,
            whole=whole,
            pictures=pictures,
            rendered=rendered,
            blocks=sum(len(one.blocks) for one in segments),
            error=error,
            size=study.options.request.size,
            prompt=study.options.request.prompt,
            title=study.options.title,
        )

    @property
    def order_is_certain(self) -> bool:
        return all(one.certain for one in self.segments)


def _place(segment: Segment, place: Callable[[str], int]) -> int:
    """Where its first block stands in the model; text encoders, which are parts of BASE, first."""
    first = segment.blocks[0]
    return -1 if is_encoder_block(first) else place(first)


def _to_paste(segments: Sequence[Segment]) -> tuple[str | None, str]:
    """(list or None, by name)."""
    effects = [
        BlockEffect(Group(one.name, one.blocks), one.value, one.value, one.value, (), one.weight)
        for one in segments
    ]
    return weights_to_paste(effects, 1.0, 0.0)


def write_segments(folder: Path, report: SegmentsReport, *, embed: bool) -> SegmentsReport:
    """segments.json, .csv and .html; the report with their paths."""
    files = (
        _write(folder / "segments.csv", segments_csv(report)),
        _write(folder / "segments.json", segments_json(report)),
        _write(folder / "segments.html", segments_page(report, folder, embed=embed)),
    )
    return replace(report, files=files)


def _write(path: Path, content: bytes) -> Path:
    write_whole(path, content)
    return path


def segments_csv(report: SegmentsReport) -> bytes:
    """A row for each segment."""
    measures = ("alone", "without", "value")
    rows: list[Sequence[object]] = [
        [
            "segment", "blocks", "seeds",
            *(f"{measure}{end}" for measure in measures for end in ("", " low", " high")),
            "weight", "order certain",
        ]
    ]  # fmt: skip
    for one in report.segments:
        estimates = [getattr(one, measure) for measure in measures]
        numbers = [number for e in estimates for number in (e.mean, e.low, e.high)]
        rows.append(
            [
                one.name,
                " ".join(one.blocks),
                len(one.value.values),
                *map(csv_number, numbers),
                one.weight,
                int(one.certain),
            ]
        )
    return csv_file(rows)


def segments_json(report: SegmentsReport) -> bytes:
    """The whole report."""
    fields = {name: value for name, value in asdict(report).items() if name != "files"}
    return json_file({"version": 1} | fields) + b"\n"


def segments_page(report: SegmentsReport, folder: Path, *, embed: bool) -> bytes:
    """`segments.html`."""

    def source(key: str) -> str:
        return picture_source(f"cells/{key}.png", folder, embed=embed)

    data = {
        "title": report.title,
        "adapter": report.adapter,
        "likeness": report.likeness,
        "segments": [
            {
                "name": one.name,
                "blocks": one.blocks,
                "alone": asdict(one.alone),
                "without": asdict(one.without),
                "value": asdict(one.value),
                "weight": one.weight,
                "certain": one.certain,
                "pictures": [source(key) for key in one.keys],
            }
            for one in report.segments
        ],
        "pairs": [
            {"one": pair.one, "other": pair.other, "extra": asdict(pair.extra), "sure": pair.is_sure}
            for pair in report.pairs
        ],
        "list": report.weights_list,
        "byName": report.weights_by_name,
        "command": report.recipe.command if report.recipe else None,
        "base": source(report.base),
        "whole": source(report.whole),
        "pictures": report.pictures,
        "blocks": report.blocks,
        "error": report.error,
        "width": report.size[0],
        "height": report.size[1],
        "prompt": report.prompt,
    }
    return fill_page("segments", report.title or f"{report.adapter}: segments", data)
