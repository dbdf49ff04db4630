"""`lathe blocks --weights` for people, and as a line of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.cli.layout import Columns, Facts
from loralathe.cli.screen import Screen, heading
from loralathe.cli.wording import few, figures, percent
from loralathe.studies.analyzer.chart import bar

if TYPE_CHECKING:
    from loralathe.studies.weights import BlockWeight, WeightStudy

WIDTH = 24
NARROW = 12
"""Of a bar that has numbers of a comparison beside it."""


def show_weights(screen: Screen, found: WeightStudy) -> None:
    """A bar for every block: how large its delta is beside the weights that it changes."""
    screen.event("weights", weights=found)
    rows = [("checkpoint", str(found.checkpoint)), ("adapter", str(found.adapter))]
    rows += [("beside", str(found.other))] if found.other else []
    rows += [("unmatched", f"{len(found.unmatched)}: {few(found.unmatched)}")] if found.unmatched else []
    width = NARROW if found.other else WIDTH
    columns = ["block", "‖Δ‖/‖W‖".ljust(width), "", "energy %", "rank", "effective", "90 %", "99 %"]
    columns += ["cosine", "up", "down"] if found.other else []
    top = max((block.ratio or 0.0 for block in found.blocks), default=0.0) or 1.0
    lines = [_row(block, top, width) for block in found.blocks]
    total = _row(found.total, 0.0, width)
    screen.result(heading("blocks by their weights, at strength 1"), Facts(rows), "")
    screen.result(Columns(columns, lines, total))


def _row(block: BlockWeight, top: float, width: int) -> list[str]:
    """A line; `top` is the ratio of the longest bar, 0 for no bar."""
    row = [
        block.block,
        bar((block.ratio or 0.0) / top if top else 0.0, width).ljust(width),
        _number(block.ratio, 4),
        percent(block.share),
        str(block.rank),
        *(f"{value:.1f}" for value in (block.spread, block.rank90, block.rank99)),
    ]
    return row + [_fixed(value) for value in (block.cosine, block.up, block.down)] * (width == NARROW)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else "0" if value == 0 else figures(value, digits)


def _fixed(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
