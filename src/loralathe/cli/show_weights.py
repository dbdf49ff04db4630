"""`lathe blocks --weights` for people, and as a line of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.cli.layout import Columns, Facts
from loralathe.cli.screen import Screen, heading
from loralathe.cli.wording import few, figures, percent
from loralathe.studies.analyzer import bar

if TYPE_CHECKING:
    from loralathe.studies.weights import BlockWeight, WeightStudy

WIDEST = 24
NARROWEST = 6
"""Of a bar; where there is not even so much room for one, only numbers are shown."""
NUMBERS, COMPARED = 64, 26
"""Columns that the numbers take, and those of a comparison beside them."""


def show_weights(screen: Screen, found: WeightStudy) -> None:
    """A bar for every block: how large its delta is beside the weights that it changes."""
    screen.event("weights", weights=found)
    rows = [("checkpoint", str(found.checkpoint)), ("adapter", str(found.adapter))]
    rows += [("beside", str(found.other))] if found.other else []
    rows += [("unmatched", f"{len(found.unmatched)}: {few(found.unmatched)}")] if found.unmatched else []
    room = screen.console.width - NUMBERS - (COMPARED if found.other else 0)
    width = min(room, WIDEST) if room >= NARROWEST else 0
    columns = ["block", *(["‖Δ‖/‖W‖".ljust(width), ""] if width else ["‖Δ‖/‖W‖"])]
    columns += ["energy %", "rank", "effective", "90 %", "99 %"]
    columns += ["cosine", "up", "down"] if found.other else []
    top = max((block.ratio or 0.0 for block in found.blocks), default=0.0) or 1.0
    shares = [(block, (block.ratio or 0.0) / top) for block in found.blocks]
    lines = [_row(block, share, width, bool(found.other)) for block, share in shares]
    total = _row(found.total, 0.0, width, bool(found.other))
    screen.result(heading("blocks by their weights, at strength 1"), Facts(rows), "")
    screen.result(Columns(columns, lines, total))


def _row(block: BlockWeight, share: float, width: int, compared: bool) -> list[str]:
    """A line; `share` is the length of its bar, 1 for the longest."""
    row = [
        block.block,
        *([bar(share, width).ljust(width)] if width else []),
        _number(block.ratio, 4),
        percent(block.share),
        str(block.rank),
        *(f"{value:.1f}" for value in (block.spread, block.rank90, block.rank99)),
    ]
    return row + [_fixed(value) for value in (block.cosine, block.up, block.down)] * compared


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else "0" if value == 0 else figures(value, digits)


def _fixed(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
