"""The result of an analysis, the block weights it suggests to start from, and its chart for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.families import all_block_lists
from loralathe.likeness.intervals import Estimate
from loralathe.rounded import fixed, signed
from loralathe.strengths import REST, BlockText, show_number
from loralathe.studies.analyzer.options import Group
from loralathe.studies.commands import CellRecipe

if TYPE_CHECKING:
    from rich.table import Table

FULL_WEIGHT_FROM = 0.5
GRAIN = 0.05


@dataclass(frozen=True)
class BlockEffect:
    """How the picture changes when one block takes the examined weight.

    changed: percentage of channel values over the threshold (LoRA Block Weight's number).
    ssim: structural similarity to the source, 1 for equal.  gmsd: perceptual difference, 0 for equal.
    weight: the weight suggested to start from.  Each estimate is over the seeds.
    likeness: of the picture to a card, less that of the source, seed by seed; None without a card.
    A group that a coarse search left whole has several blocks, and its numbers are of all of them together.
    """

    group: Group
    changed: Estimate
    ssim: Estimate
    gmsd: Estimate
    keys: tuple[str, ...]
    weight: float
    likeness: Estimate | None = None


@dataclass(frozen=True)
class BlockReport:
    """The result: effects in block order, the weights to paste, and what was rendered.

    strength: the larger weight of the range, for which 1 stands in the weights to paste: a strength
        multiplies them.
    weights_list: a list that `merge` takes (`1,0,0.3,…`), None when the examined blocks make up no list.
    weights_by_name: the same by name, which fits every adapter of the family.
    likeness: of the sources to a card.
    """

    adapter: str
    examined: float
    others: float
    threshold: int
    seeds: tuple[int, ...]
    sources: tuple[str, ...]
    effects: tuple[BlockEffect, ...]
    lacking: tuple[str, ...]
    rendered: int
    pictures: int
    strength: float
    weights_list: str | None
    weights_by_name: str
    recipe: CellRecipe | None
    likeness: Estimate | None = None
    files: tuple[Path, ...] = ()


def full_weight(examined: float, others: float) -> float:
    """The weight of the range that is farther from 0; the second of two that are as far."""
    return max((others, examined), key=abs)


def suggested_weight(changed: float, strongest: float, examined: float, others: float) -> float:
    """A weight between the two of the range, as a part of the full one: the more it changes, the larger.

        w = least + (full − least) · min(1, changed / (0.5 · strongest)), rounded to 0.05, divided by full

    where full is the one of `examined` and `others` that is farther from 0. So a block gets 1 when it does at
    least half as much as the strongest one, and one that does nothing takes the smaller weight, which the
    picture does not miss: with a range of 1,0 as with 0,1. What multiplies the weights is a strength.
    """
    full = full_weight(examined, others)
    least = examined if full == others else others
    share = min(1.0, changed / (FULL_WEIGHT_FROM * strongest)) if strongest > 0 else 0.0
    weight = least + (full - least) * share
    return round(round(weight / GRAIN) * GRAIN / full, 2)


def weights_to_paste(
    effects: Sequence[BlockEffect], examined: float, others: float
) -> tuple[str | None, str]:
    """(list or None, by name) for the suggested weights; blocks that were not examined keep `others`."""
    values = {block: effect.weight for effect in effects for block in effect.group.blocks}
    text = BlockText(None, ((REST, show_number(round(others / full_weight(examined, others), 2))),))
    for block, weight in values.items():
        text = text.replaced([block], weight)
    as_list = None
    for names in all_block_lists():
        if set(names) == set(values):
            as_list = ",".join(show_number(values[name]) for name in names)
    return as_list, text.text() or "*=1"


_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(share: float, width: int) -> str:
    """A bar of `share` (0 to 1) of `width` characters, in eighths of one."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def bar_chart(report: BlockReport, width: int = 40) -> Table:
    """A rich table: block, bar, percentage with its interval, SSIM, GMSD, suggested weight."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    weights = f"{show_number(report.others)} → {show_number(report.examined)}"
    title = f"{report.adapter}: {weights}, one block at a time"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("block", no_wrap=True, style="bold")
    table.add_column("changed", no_wrap=True, min_width=width)
    intervals = any(effect.changed.high is not None for effect in report.effects)
    carded = any(effect.likeness is not None for effect in report.effects)
    for head in (
        "%",
        *(["95 %"] if intervals else []),
        "SSIM",
        "GMSD",
        *(["likeness"] if carded else []),
        "weight",
    ):
        table.add_column(head, justify="right", no_wrap=True)
    top = max((effect.changed.mean for effect in report.effects), default=0.0) or 1.0
    for effect in report.effects:
        share = effect.changed.mean / top
        table.add_row(
            effect.group.name,
            Text(bar(share, width), style="cyan" if share >= 0.5 else "blue"),
            f"{effect.changed.mean:.3f}",
            *([_half_width(effect.changed)] if intervals else []),
            fixed(effect.ssim.mean, 4),
            fixed(effect.gmsd.mean, 4),
            *([_change(effect.likeness)] if carded else []),
            show_number(effect.weight),
        )
    return table


def _change(value: Estimate | None) -> str:
    return "–" if value is None else f"{signed(value.mean, 3)} {_half_width(value)}".rstrip()


def _half_width(value: Estimate) -> str:
    return "" if value.high is None else f"± {value.high - value.mean:.3f}"
