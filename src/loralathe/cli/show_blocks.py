"""An analysis of blocks for people, and as a line of JSON: what would be rendered, and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.cli.layout import Facts
from loralathe.cli.screen import Screen, heading
from loralathe.cli.wording import few, plural

if TYPE_CHECKING:
    from loralathe.studies import BlockReport, BlocksOptions

BESIDE_THE_BARS = 60
"""Columns that the chart's numbers take."""


def show_blocks_plan(screen: Screen, options: BlocksOptions) -> None:
    """--dry-run: which blocks, how many pictures."""
    from loralathe.studies.analyzer.analyze import begin_study
    from loralathe.studies.analyzer.options import first_cut, read_groups, read_range

    begin_study(options)  # its mistakes are told before anything is rendered
    groups, lacking = read_groups(options)
    examined, others = read_range(options.range)
    count = len(first_cut(groups)) if options.coarse else len(groups)
    pictures = (count + 1) * options.seeds
    screen.event(
        "plan",
        folder=options.folder,
        blocks=[group.name for group in groups],
        lacking=lacking,
        pictures=pictures,
        coarse=options.coarse,
    )
    more = " at first, and more where a group matters" if options.coarse else ""
    rows = [
        ("blocks", " ".join(group.name for group in groups)),
        *([("left out", f"{' '.join(lacking)} (not in this family)")] if lacking else []),
        ("weights", f"{examined:g} for one block at a time, {others:g} for all others"),
        ("pictures", f"{pictures}: (blocks + 1) × {plural(options.seeds, 'seed')}{more}"),
        ("into", str(options.folder)),
    ]
    screen.show(
        heading(f"would examine {plural(count, 'group' if options.coarse else 'block')}"), Facts(rows)
    )


def show_blocks(screen: Screen, options: BlocksOptions, report: BlockReport) -> None:
    """The bar chart, the weights to paste, the files to look at."""
    from loralathe.studies import bar_chart

    screen.event("blocks", folder=options.folder, report=report)
    screen.result(bar_chart(report, max(16, min(40, screen.console.width - BESIDE_THE_BARS))))
    there = report.pictures - report.rendered
    by_name = {path.name: path for path in report.files}
    sheets = [str(path) for path in report.files if path.suffix == ".png"]
    rows = [
        ("pictures", f"{report.rendered} rendered" + (f", {there} were there already" if there else "")),
        ("sheets" if len(sheets) > 1 else "sheet", few(sheets)),
        ("page", str(by_name["blocks.html"])),
        ("numbers", f"{by_name['blocks.csv']}, blocks.json"),
    ]
    screen.show(Facts(rows))
    pasted = [
        report.weights_list or report.weights_by_name,
        *([report.recipe.command] if report.recipe else []),
    ]
    screen.show("", heading("weights to start from, and the merge that takes them"))
    screen.verbatim(*(f"  {line}" for line in pasted))
