"""One LoRA on many bases: what a search found on each, as a page, a table and a sheet of pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from loralathe.likeness.intervals import Estimate
from loralathe.rendering.png import png_bytes, read_picture
from loralathe.studies.drawing.sheet import PLAIN, Sheet, lay_out, paint_sheet
from loralathe.studies.page.build import fill_page, picture_source
from loralathe.studies.study_file import csv_file, csv_number, json_file
from loralathe.studies.tuning.report import Candidate, TuneReport
from loralathe.tensorfiles import write_whole

PAGE, TABLE, FACTS, SHEET = "everywhere.html", "everywhere.csv", "everywhere.json", "everywhere.png"
LARGEST_FACTS = 64 << 20
"""Bytes of an everywhere.json that is read again, for the time that earlier runs took."""


@dataclass(frozen=True)
class OnBase:
    """What was found on one base.

    folder:   of its search;  report: None for a base that was left out, and `left_out` says why
    lora:     the file that was used: its own, or the one that `transfer` wrote for a base of other blocks
    shared:   how alike this base and the LoRA's own treat what it reads and writes; None: not asked, unknown
    seconds:  that all runs took together
    """

    base: Path
    folder: Path
    lora: Path
    report: TuneReport | None = None
    left_out: str = ""
    shared: float | None = None
    seconds: float = 0.0

    @property
    def best(self) -> Candidate | None:
        return None if self.report is None else self.report.best

    @property
    def values(self) -> tuple[Estimate | None, ...]:
        """Each goal of the recommended candidate, on fresh seeds where there were some."""
        if self.report is None or self.best is None:
            return ()
        return self.best.values if self.report.check is None else self.report.check.values

    @property
    def pictures(self) -> tuple[Path | None, Path | None]:
        """The recommended candidate and what was given, on the first fresh seed; None where there is none."""
        if self.report is None or self.best is None:
            return None, None
        if (final := self.report.final) is not None:
            return self._cell(final.keys), self._cell(final.given)
        return self._cell(self.best.keys), self._cell(self.report.candidates[0].keys)

    def _cell(self, keys: Sequence[str]) -> Path | None:
        return self.folder / "cells" / f"{keys[0]}.png" if keys else None


@dataclass(frozen=True)
class EverywhereReport:
    """A LoRA on several bases.

    goals: (name, whether up is better) of all searches;  files: what was written beside their folders
    """

    title: str
    lora: Path
    prompt: str
    folder: Path
    bases: tuple[OnBase, ...]
    files: tuple[Path, ...] = ()

    @property
    def goals(self) -> tuple[tuple[str, bool], ...]:
        found = next((one.report.goals for one in self.bases if one.report is not None), ())
        return tuple((name, up) for name, up, *_ in found)

    @property
    def names(self) -> tuple[str, ...]:
        """What the bases are called: their files' names, with their folder where two have the same."""
        stems = [one.base.stem for one in self.bases]
        return tuple(
            stem if stems.count(stem) == 1 else f"{one.base.parent.name}/{stem}"
            for stem, one in zip(stems, self.bases, strict=True)
        )


def seconds_before(folder: Path) -> dict[str, float]:
    """Base → seconds that earlier runs in this folder took; nothing where none is told."""
    file = folder / FACTS
    try:
        if file.stat().st_size > LARGEST_FACTS:
            return {}
        bases = json.loads(file.read_bytes())["bases"]
        return {str(one["base"]): max(0.0, float(one["seconds"])) for one in bases}
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or not ours: it is written anew
        return {}


def write_everywhere(report: EverywhereReport, *, embed: bool = False) -> EverywhereReport:
    """Write all files of the report; the report with their paths."""
    files = {
        FACTS: everywhere_json(report),
        TABLE: everywhere_csv(report),
        PAGE: everywhere_page(report, embed=embed),
    }
    if (sheet := everywhere_sheet(report)) is not None:
        files[SHEET] = png_bytes(sheet, {})
    for name, content in files.items():
        write_whole(report.folder / name, content)
    return replace(report, files=tuple(report.folder / name for name in files))


def _mean(value: Estimate | None) -> dict[str, float | None] | None:
    return None if value is None else {"mean": value.mean, "low": value.low, "high": value.high}


def _place(path: Path, folder: Path) -> str:
    """As seen from the folder, so that both can be moved; on another drive as it is."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return str(path)


def _facts(one: OnBase, name: str, report: EverywhereReport) -> dict[str, Any]:
    found, best = one.report, one.best
    facts: dict[str, Any] = {
        "name": name,
        "base": str(one.base),
        "lora": str(one.lora),
        "folder": _place(one.folder, report.folder),
        "left_out": one.left_out,
        "shared": one.shared,
        "seconds": round(one.seconds, 1),
    }
    if found is None or best is None:
        return facts
    return facts | {
        "values": dict(zip(found.axes, best.labels, strict=False)),
        "goals": {goal: _mean(value) for (goal, _), value in zip(report.goals, one.values, strict=True)},
        "pictures": found.pictures,
        "grid_pictures": found.grid_pictures,
        "render": best.render if found.final is None else found.final.render,
        "whole": found.final is not None and found.final.whole,
        "merge": best.recipe.command if best.recipe else "",
        "recipe": found.recipe,
    }


def everywhere_json(report: EverywhereReport) -> bytes:
    """Every base with its values, goals, commands and costs."""
    bases = [_facts(one, name, report) for one, name in zip(report.bases, report.names, strict=True)]
    head = {"version": 1, "lora": str(report.lora), "prompt": report.prompt}
    return json_file(head | {"bases": bases}) + b"\n"


def everywhere_csv(report: EverywhereReport) -> bytes:
    """A row for each base."""
    axes = list(dict.fromkeys(axis for one in report.bases if one.report for axis in one.report.axes))
    heads = [f"{name}{end}" for name, _ in report.goals for end in ("", " low", " high")]
    rows: list[Sequence[object]] = [
        ["base", *axes, *heads, "shared", "pictures", "seconds", "left out", "lora", "command"]
    ]
    for one in report.bases:
        best = one.best
        chosen = dict(zip(one.report.axes, best.labels, strict=False)) if one.report and best else {}
        numbers = [
            number
            for value in one.values or (None,) * len(report.goals)
            for number in ((None,) * 3 if value is None else (value.mean, value.low, value.high))
        ]
        rows.append(
            [
                str(one.base),
                *(chosen.get(axis, "") for axis in axes),
                *map(csv_number, numbers),
                "" if one.shared is None else f"{one.shared:.4f}",
                one.report.pictures if one.report else 0,
                f"{one.seconds:.0f}",
                one.left_out,
                str(one.lora),
                best.recipe.command if best and best.recipe else "",
            ]
        )
    return csv_file(rows)


def everywhere_page(report: EverywhereReport, *, embed: bool = False) -> bytes:
    """`everywhere.html`: pictures side by side, a table, and what to type for each base."""

    def source(picture: Path | None) -> str:
        if picture is None:
            return ""
        return picture_source(_place(picture, report.folder), report.folder, embed=embed)

    bases = []
    for one, name in zip(report.bases, report.names, strict=True):
        chosen, given = map(source, one.pictures)
        facts = _facts(one, name, report)
        values = [_mean(value) for value in one.values]
        page = f"{facts['folder']}/tune.html" if one.report else ""
        width, height = one.report.size if one.report else (0, 0)
        best = one.best
        bases.append(
            facts
            | {
                "means": values,
                "picture": chosen,
                "given": given,
                "page": page,
                "width": width,
                "height": height,
                "asGiven": best is not None and best.number == 0,
                "moved": one.lora != report.lora,
                "notes": best.recipe.notes if best and best.recipe else (),
                "adapters": best.adapters if best else (),
            }
        )
    data: Mapping[str, object] = {
        "title": report.title,
        "lora": report.lora.stem,
        "prompt": report.prompt,
        "goals": [{"name": name, "up": up} for name, up in report.goals],
        "bases": bases,
    }
    return fill_page("everywhere", report.title or report.folder.name, data)


def everywhere_sheet(report: EverywhereReport) -> Image.Image | None:
    """The recommended picture of each base, what was given below it; None where no base has one."""
    pairs = {
        name: one.pictures
        for one, name in zip(report.bases, report.names, strict=True)
        if one.pictures[0] is not None
    }
    if not pairs:
        return None
    opened = [[_opened(pair[row]) for pair in pairs.values()] for row in (0, 1)]
    sizes = [image.size for row in opened for image in row if image is not None]
    slot = max(width for width, _ in sizes), max(height for _, height in sizes)
    sheet = Sheet(tuple(pairs), ("recommended", "as given"), slot, title=report.lora.stem)
    canvas = Image.new("RGB", lay_out(sheet).size, PLAIN.background)
    paint_sheet(canvas, (0, 0), sheet, lambda column, row: opened[row][column], PLAIN)
    return canvas


def _opened(path: Path | None) -> Image.Image | None:
    return None if path is None or not path.is_file() else read_picture(path)
