"""The bar chart in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.strengths import show_number
from loralathe.studies.intervals import Estimate

if TYPE_CHECKING:
    from rich.table import Table

    from loralathe.studies.analyzer.report import BlockReport

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
    intervals = len(report.seeds) > 1
    for head in ("%", *(["95 %"] if intervals else []), "SSIM", "GMSD", "weight"):
        table.add_column(head, justify="right", no_wrap=True)
    top = max((effect.changed.mean for effect in report.effects), default=0.0) or 1.0
    for effect in report.effects:
        share = effect.changed.mean / top
        table.add_row(
            effect.group.name,
            Text(bar(share, width), style="cyan" if share >= 0.5 else "blue"),
            f"{effect.changed.mean:.3f}",
            *([_half_width(effect.changed)] if intervals else []),
            f"{effect.ssim.mean:.4f}",
            f"{effect.gmsd.mean:.4f}",
            show_number(effect.weight),
        )
    return table


def _half_width(value: Estimate) -> str:
    return "" if value.high is None else f"± {value.high - value.mean:.3f}"
