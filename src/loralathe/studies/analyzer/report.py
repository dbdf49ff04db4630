"""What an analysis found, and the block weights it suggests to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loralathe.strengths import show_number
from loralathe.studies.analyzer.groups import Group
from loralathe.studies.blocktext import BLOCK_LISTS, BlockText
from loralathe.studies.commands import Recipe
from loralathe.studies.intervals import Estimate

FULL_WEIGHT_FROM = 0.5
GRAIN = 0.05


@dataclass(frozen=True)
class BlockEffect:
    """What changes when one block takes the examined weight.

    changed: percentage of channel values over the threshold (LoRA Block Weight's number).
    ssim: structural similarity to the source, 1 for equal.  gmsd: perceptual difference, 0 for equal.
    weight: the weight suggested to start from.  Each estimate is over the seeds.
    A group that a coarse search left whole has several blocks, and its numbers are of all of them together.
    """

    group: Group
    changed: Estimate
    ssim: Estimate
    gmsd: Estimate
    keys: tuple[str, ...]
    weight: float


@dataclass(frozen=True)
class BlockReport:
    """The result: effects in block order, the weights to paste, and what was rendered.

    weights_list: a list that `merge` takes (`1,0,0.3,…`), None when the examined blocks make up no list.
    weights_by_name: the same by name, which fits every adapter of the family.
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
    weights_list: str | None
    weights_by_name: str
    recipe: Recipe | None
    files: tuple[Path, ...] = ()


def suggested_weight(changed: float, strongest: float, examined: float, others: float) -> float:
    """A weight between the two of the range: the more a block changes the picture, the nearer to the larger.

        w = least + (full − least) · min(1, changed / (0.5 · strongest)), rounded to 0.05

    where full is the one of `examined` and `others` that is farther from 0. So a block keeps its full weight
    when it does at least half as much as the strongest one, and one that does nothing takes the smaller
    weight, which the picture does not miss: with a range of 1,0 as with 0,1.
    """
    least, full = sorted((examined, others), key=abs)
    share = min(1.0, changed / (FULL_WEIGHT_FROM * strongest)) if strongest > 0 else 0.0
    weight = least + (full - least) * share
    return round(round(weight / GRAIN) * GRAIN, 2)


def weights_to_paste(effects: Sequence[BlockEffect], others: float) -> tuple[str | None, str]:
    """(list or None, by name) for the suggested weights; blocks that were not examined keep `others`."""
    values = {block: effect.weight for effect in effects for block in effect.group.blocks}
    text = BlockText(None, (), rest=show_number(others))
    for block, weight in values.items():
        text = text.replaced([block], weight)
    as_list = None
    for names in BLOCK_LISTS.values():
        if set(names) == set(values):
            as_list = ",".join(show_number(values[name]) for name in names)
    return as_list, text.text() or "*=1"
