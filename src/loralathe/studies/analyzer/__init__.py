"""The Effective Block Analyzer: what each block of an adapter does to the picture."""

from loralathe.studies.analyzer.chart import bar_chart
from loralathe.studies.analyzer.options import BlocksOptions
from loralathe.studies.analyzer.report import BlockEffect, BlockReport
from loralathe.studies.analyzer.run import analyze_blocks

__all__ = ["BlockEffect", "BlockReport", "BlocksOptions", "analyze_blocks", "bar_chart"]
