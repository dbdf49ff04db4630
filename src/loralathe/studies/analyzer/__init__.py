"""The Effective Block Analyzer: how each block of an adapter changes the picture."""

from loralathe.studies.analyzer.analyze import analyze_blocks
from loralathe.studies.analyzer.options import BlocksOptions, first_cut, fitting_list, read_groups, read_range
from loralathe.studies.analyzer.report import BlockEffect, BlockReport, bar, bar_chart

__all__ = [
    "BlockEffect", "BlockReport", "BlocksOptions", "analyze_blocks", "bar", "bar_chart", "first_cut",
    "fitting_list", "read_groups", "read_range",
]  # fmt: skip
