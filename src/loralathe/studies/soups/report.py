"""What was found of a soup, in numbers and sentences, and its files: soup.json, soup.html, soup.png."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from PIL import Image

from loralathe.commands import command_line
from loralathe.engine import Measured
from loralathe.likeness.intervals import Estimate
from loralathe.rendering.png import png_bytes
from loralathe.rendering.request import ImageRequest
from loralathe.rounded import signed_points
from loralathe.strengths import show_number
from loralathe.studies.drawing.sheet import PLAIN, Sheet, lay_out, paint_sheet
from loralathe.studies.measured import NO_CARD, CardFile, measured_by
from loralathe.studies.over_seeds import untold
from loralathe.studies.page.build import fill_page, page_pictures, page_values
from loralathe.studies.store import CellStore
from loralathe.studies.study_file import json_file
from loralathe.tensorfiles import write_whole

MOST_PICTURES = 6
"""Seeds on the sheet."""
Estimates = tuple[Estimate | None, ...]


class Verdict(Enum):
    """What became of an epoch that was tried: it joins, makes the soup surely no better, or is unsure."""

    JOINS = "joins"
    WORSE = "worse"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Epoch:
    """An epoch alone: its weight in the soup, seeds, and each of its objectives."""

    file: str
    weight: float
    seeds: int
    values: Estimates

    @property
    def name(self) -> str:
        return Path(self.file).stem


@dataclass(frozen=True)
class Gain:
    """By how much a soup got better, and its interval; None where nothing is known of it yet."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Step:
    """An epoch tried beside the members of the soup.

    first: what the first goal gained.  rest: what the weighed sum of the others did; None without others.
    """

    epoch: int
    members: tuple[int, ...]
    verdict: Verdict
    first: Gain
    rest: Gain | None
    seeds: int


@dataclass(frozen=True)
class Check:
    """The soup and the best epoch on fresh seeds, and their paired differences; cut: at its final rank."""

    seeds: tuple[int, ...]
    values: Estimates
    best_values: Estimates
    differences: Estimates
    keys: tuple[str, ...]
    best_keys: tuple[str, ...]
    cut: bool


@dataclass(frozen=True)
class SoupReport:
    """A soup that was looked at.

    goals: (name, whether up is better, weight), the first one before the others.  within: what of it may be
    given up for them, a share of 1.  best: the best single epoch.  given: weights were given.
    check: None where the soup is the best epoch itself.  strength: of the soup in pictures.
    prompts: which took turns.  card: the identity card's file.  cut: whether the file has a lower rank.
    """

    epochs: tuple[Epoch, ...]
    goals: tuple[tuple[str, bool, float], ...]
    within: float
    best: int
    steps: tuple[Step, ...]
    given: bool
    check: Check | None
    pictures: int
    rendered: int
    request: ImageRequest
    strength: float
    prompts: tuple[str, ...] = ()
    card: CardFile = NO_CARD
    cut: bool = False
    files: tuple[Path, ...] = ()

    @property
    def mix(self) -> tuple[float, ...]:
        """What each epoch weighs."""
        return tuple(epoch.weight for epoch in self.epochs)

    @property
    def measured(self) -> Measured | None:
        """What was measured of the soup as it is kept: on fresh seeds, else those of the epoch that it is."""
        best = self.epochs[self.best]
        if self.check is not None:
            values, seeds = self.check.values, self.check.seeds
        elif best.weight == 1 and not self.cut:
            first = self.request.seed
            values, seeds = best.values, tuple(range(first, first + best.seeds))
        else:
            return None
        goals = [(name, up) for name, up, _ in self.goals]
        return measured_by(
            "soup", goals, values, card=self.card, seeds=seeds, prompts=self.prompts,
            base=self.request.checkpoint, strength=self.strength,
        )  # fmt: skip

    def sentences(self) -> list[str]:
        """What was found, for people; points are hundredths."""
        return list(_sentences(self))


def _sentences(report: SoupReport) -> Iterator[str]:
    best = report.epochs[report.best]
    yield f"The best single epoch is {best.name}."
    for step in report.steps:
        name, first, rest = report.epochs[step.epoch].name, _between(step.first), _between(step.rest)
        if not first:
            yield f"{name} stays out: {step.seeds} seeds do not tell whether it helps."
            continue
        between = f"{first}, all other goals by {rest}" if rest else first
        goal = report.goals[0][0]
        if step.verdict is Verdict.JOINS:
            yield f"{name} joins: {goal} gets better by {between}."
        elif step.verdict is Verdict.WORSE:
            yield f"{name} stays out: nothing gets better, {goal} by {between}."
        else:
            seeds = step.seeds
            yield f"{name} stays out: after {seeds} seeds it is not sure to help, {goal} by {between}."
    if report.check is None:
        if not report.given and len(report.epochs) > 1:
            yield "No epoch is sure to help, so the soup is that epoch alone."
        return
    for (name, up, _), gap in zip(report.goals, report.check.differences, strict=True):
        if gap is None or gap.low is None or gap.high is None:
            yield untold(name, gap)
            continue
        word = "as good" if gap.low <= 0 <= gap.high else "better" if (gap.mean > 0) is up else "worse"
        between = _between(Gain(gap.mean, gap.low, gap.high))
        yield f"On {len(gap.values)} fresh seeds the soup's {name} is {word} beside that epoch's: {between}."


def _between(gain: Gain | None) -> str:
    if gain is None or gain.low is None or gain.high is None:
        return ""
    return f"{signed_points(gain.mean)} points ({signed_points(gain.low)} to {signed_points(gain.high)})"


def write_soup_report(folder: Path, report: SoupReport, store: CellStore) -> SoupReport:
    """Write the files; the report with their paths."""
    files = {"soup.json": soup_json(report), "soup.html": soup_page(report, folder)}
    if report.check is not None:
        files["soup.png"] = png_bytes(soup_sheet(report, report.check, store))
    for name, content in files.items():
        write_whole(folder / name, content)
    return replace(report, files=tuple(folder / name for name in files))


def soup_page(report: SoupReport, folder: Path) -> bytes:
    """`soup.html`."""

    epochs = [
        {"name": one.name, "weight": one.weight, "seeds": one.seeds, "values": page_values(one.values)}
        for one in report.epochs
    ]
    check: dict[str, Any] | None = None
    if report.check is not None:
        found = report.check
        check = {
            "seeds": found.seeds,
            "cut": found.cut,
            "values": page_values(found.values),
            "best_values": page_values(found.best_values),
            "differences": page_values(found.differences),
            "pictures": page_pictures(found.keys[:MOST_PICTURES], folder),
            "best_pictures": page_pictures(found.best_keys[:MOST_PICTURES], folder),
        }
    data = {
        "epochs": epochs,
        "goals": [{"name": name, "up": up, "weigh": weigh} for name, up, weigh in report.goals],
        "best": report.best,
        "steps": [asdict(step) | {"verdict": step.verdict.value} for step in report.steps],
        "given": report.given,
        "check": check,
        "pictures": report.pictures,
        "width": report.request.size[0],
        "height": report.request.size[1],
        "prompt": report.request.prompt,
        "command": _command(report),
    }
    return fill_page("soup", f"{folder.name}: soup", data)


def _command(report: SoupReport) -> str:
    """`lathe soup` with these weights; "" where it is one epoch alone."""
    members = [epoch for epoch in report.epochs if epoch.weight]
    if len(members) < 2:
        return ""
    weights = ",".join(show_number(epoch.weight) for epoch in members)
    return command_line("soup", *(epoch.file for epoch in members), weights=weights)


def soup_json(report: SoupReport) -> bytes:
    """The whole report."""
    fields = {name: value for name, value in asdict(report).items() if name not in ("files", "request")}
    fields["goals"] = [dict(zip(("name", "up", "weigh"), goal, strict=True)) for goal in report.goals]
    for step in fields["steps"]:
        step["verdict"] = step["verdict"].value
    more = {"sentences": report.sentences(), "request": report.request.to_json()}
    return json_file({"version": 1} | fields | more) + b"\n"


def soup_sheet(report: SoupReport, check: Check, store: CellStore) -> Image.Image:
    """The best epoch beside the soup, on the first fresh seeds."""
    shown = min(MOST_PICTURES, len(check.seeds))
    columns = (report.epochs[report.best].name, "soup")
    keys = (check.best_keys, check.keys)
    rows = tuple(str(seed) for seed in check.seeds[:shown])
    sheet = Sheet(columns, rows, report.request.size, y_title="seed")
    canvas = Image.new("RGB", lay_out(sheet).size, PLAIN.background)
    paint_sheet(canvas, (0, 0), sheet, lambda column, row: store.open(keys[column][row]), PLAIN)
    return canvas
