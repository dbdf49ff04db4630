"""What a cure found: levels, what blocks do without the word, likeness, bleed; cure.json, .html, .png."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from PIL import Image

from loralathe.likeness.intervals import Estimate
from loralathe.rendering.png import png_bytes
from loralathe.rendering.request import ImageRequest
from loralathe.rounded import fixed, signed_points
from loralathe.studies.cures.watch import PARTS, Copies, Point
from loralathe.studies.drawing.sheet import PLAIN, Sheet, lay_out, paint_sheet
from loralathe.studies.over_seeds import untold
from loralathe.studies.page.build import fill_page, page_pictures, page_values
from loralathe.studies.store import CellStore
from loralathe.studies.study_file import json_file
from loralathe.studies.tuning.goals import BLEED, SLACK
from loralathe.tensorfiles import write_whole

MOST_PICTURES = 6
"""Seeds on the sheet."""
COLUMNS = ("with the word", "cured", "the base without it", "without it", "cured, without it")
NO_BLOCK = "no block"
Estimates = tuple[Estimate | None, ...]


@dataclass(frozen=True)
class BlockReaction:
    """How large a block's change is without the word, beside with it: 1 is the same. after: as it was cured;
    None where it changes nothing."""

    block: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Tried:
    """A candidate of the search.

    levels: λ of each part of `PARTS`.  lost: (mean difference of the likeness, how far it may be off).
    """

    levels: tuple[float, ...]
    seeds: int
    values: Estimates
    lost: tuple[float, float] | None
    keeps: bool


@dataclass(frozen=True)
class Check:
    """On fresh seeds: each goal before and after, and the paired differences.

    keys: the pictures of each seed, as `COLUMNS` names them.
    """

    seeds: tuple[int, ...]
    before: Estimates
    after: Estimates
    differences: Estimates
    keys: tuple[tuple[str, str, str, str, str], ...]


@dataclass(frozen=True)
class CureReport:
    """A cure.

    goals: (name, whether up is better).  levels: λ of each part; zeros where none keeps the likeness.
    left: modules that no picture reached.  refined: steps of training.
    made: the file, None where nothing was to be made.  command: that does it again; "" where none can.
    """

    lora: str
    base: str
    triggers: tuple[str, ...]
    goals: tuple[tuple[str, bool], ...]
    keep: float
    strength: float
    levels: tuple[float, ...]
    refined: int
    blocks: tuple[BlockReaction, ...]
    left: tuple[str, ...]
    tried: tuple[Tried, ...]
    check: Check | None
    made: Path | None
    pictures: int
    rendered: int
    request: ImageRequest
    command: str = ""
    files: tuple[Path, ...] = ()

    def sentences(self) -> list[str]:
        """What was found, for people; points are hundredths."""
        return list(_sentences(self))

    def note(self) -> dict[str, object]:
        """What the cured file remembers."""
        found: dict[str, object] = {
            "lora": self.lora,
            "base": self.base,
            "trigger": list(self.triggers),
            "damping": dict(zip(PARTS, self.levels, strict=True)),
            "refined": self.refined,
        }
        if self.check is not None:
            rows = zip(self.goals, self.check.before, self.check.after, self.check.differences, strict=True)
            found["pictures"] = len(self.check.seeds)
            found["measured"] = {
                name: {"before": _three(a), "after": _three(b), "difference": _three(gap)}
                for (name, _), a, b, gap in rows
            }
        return found


def acts_without(copies: Copies, point: Point) -> tuple[BlockReaction, ...]:
    """Of every block, in the order of the file. Sizes are root mean squares of what it adds."""
    names = dict.fromkeys(layer.block or NO_BLOCK for layer in copies.layers)
    found = []
    for name in names:
        own = [layer for layer in copies.layers if (layer.block or NO_BLOCK) == name]
        whole = sum(layer.with_word for layer in own)
        before = sum(layer.without for layer in own)
        after = [
            layer.damped[point[layer.part] - 1] if point[layer.part] else (layer.with_word, layer.without)
            for layer in own
        ]
        left, rest = sum(one[0] for one in after), sum(one[1] for one in after)
        found.append(
            BlockReaction(
                name,
                sqrt(before / whole) if whole > 0 else None,
                sqrt(rest / left) if left > 0 else None,
            )
        )
    return tuple(found)


def _three(value: Estimate | None) -> list[float | None] | None:
    return None if value is None else [value.mean, value.low, value.high]


def _sentences(report: CureReport) -> Iterator[str]:
    if not any(report.levels) and not report.refined:
        yield f"No damping keeps the likeness within {100 * report.keep:g} points, so nothing was changed."
        return
    if report.check is None:
        return
    for (name, _), gap in zip(report.goals, report.check.differences, strict=True):
        if gap is None or gap.low is None or gap.high is None:
            yield untold(name, gap)
            continue
        word = "the same" if gap.low <= 0 <= gap.high else "higher" if gap.mean > 0 else "lower"
        between = f"{signed_points(gap.mean)} points ({signed_points(gap.low)} to {signed_points(gap.high)})"
        yield f"On {len(gap.values)} fresh seeds {name} is {word}: {between}."
    at = [name for name, _ in report.goals].index(BLEED)
    before, after = report.check.before[at], report.check.after[at]
    if before is not None and after is not None and before.mean > SLACK:
        yield _gone(1 - max(after.mean, 0.0) / before.mean)


def _gone(share: float) -> str:
    """What became of the bleed; a share below 0 means that there is more of it."""
    percent = fixed(100 * abs(share), 0)
    if percent == "0":
        return "The bleed is as much as before."
    return f"{percent} % of the bleed is gone." if share > 0 else f"There is {percent} % more bleed."


def write_cure_report(folder: Path, report: CureReport, store: CellStore) -> CureReport:
    """Write the files; the report with their paths."""
    files = {"cure.json": cure_json(report), "cure.html": cure_page(report, folder)}
    if report.check is not None:
        files["cure.png"] = png_bytes(cure_sheet(report, report.check, store))
    for name, content in files.items():
        write_whole(folder / name, content)
    return replace(report, files=tuple(folder / name for name in files))


def cure_page(report: CureReport, folder: Path) -> bytes:
    """`cure.html`."""
    check: dict[str, Any] | None = None
    if report.check is not None:
        found = report.check
        columns = zip(*found.keys[:MOST_PICTURES], strict=True)
        check = {
            "seeds": found.seeds,
            "before": page_values(found.before),
            "after": page_values(found.after),
            "differences": page_values(found.differences),
            "pictures": [page_pictures(keys, folder) for keys in columns],
        }
    data = {
        "lora": Path(report.lora).stem,
        "goals": [{"name": name, "up": up} for name, up in report.goals],
        "keep": report.keep,
        "slack": SLACK,
        "levels": report.levels,
        "refined": report.refined,
        "made": report.made is not None,
        "left": len(report.left),
        "blocks": [asdict(one) for one in report.blocks],
        "tried": [
            {
                "levels": one.levels,
                "seeds": one.seeds,
                "values": page_values(one.values),
                "keeps": one.keeps,
            }
            for one in report.tried
        ],
        "check": check,
        "pictures": report.pictures,
        "width": report.request.size[0],
        "height": report.request.size[1],
        "prompt": report.request.prompt,
        "command": report.command,
    }
    return fill_page("cure", f"{folder.name}: cure", data)


def cure_json(report: CureReport) -> bytes:
    """The whole report."""
    skipped = ("files", "request", "made", "command")
    fields = {name: value for name, value in asdict(report).items() if name not in skipped}
    fields["goals"] = [dict(zip(("name", "up"), goal, strict=True)) for goal in report.goals]
    for one in fields["tried"]:
        if one["lost"] is not None and not isfinite(one["lost"][1]):
            one["lost"] = (one["lost"][0], None)
    more = {
        "parts": PARTS,
        "made": None if report.made is None else report.made.name,
        "sentences": report.sentences(),
        "request": report.request.to_json(),
    }
    return json_file({"version": 1} | fields | more) + b"\n"


def cure_sheet(report: CureReport, check: Check, store: CellStore) -> Image.Image:
    """Pictures with the word and without it, before and after, on the first fresh seeds."""
    shown = min(MOST_PICTURES, len(check.seeds))
    rows = tuple(str(seed) for seed in check.seeds[:shown])
    sheet = Sheet(COLUMNS, rows, report.request.size, y_title="seed")
    canvas = Image.new("RGB", lay_out(sheet).size, PLAIN.background)
    paint_sheet(canvas, (0, 0), sheet, lambda column, row: store.open(check.keys[row][column]), PLAIN)
    return canvas
