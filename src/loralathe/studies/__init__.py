"""Studies: many pictures that differ in chosen ways, drawn side by side and measured.

A cell is a frozen request; a plan orders the cells; a store keeps every finished one. `run_grid` and
`analyze_blocks` are the two doors; importing this package imports no torch, numpy or Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names

if TYPE_CHECKING:
    from loralathe.studies.analyzer import BlockReport, BlocksOptions, analyze_blocks, bar_chart
    from loralathe.studies.context import Context, RecipeSource, gather_context
    from loralathe.studies.grid import GridOptions, GridResult, plan_of, run_grid

__all__ = [
    "BlockReport",
    "BlocksOptions",
    "Context",
    "GridOptions",
    "GridResult",
    "RecipeSource",
    "analyze_blocks",
    "bar_chart",
    "gather_context",
    "plan_of",
    "run_grid",
]

__getattr__ = lazy_names(
    __name__,
    {
        "analyzer": ("BlockReport", "BlocksOptions", "analyze_blocks", "bar_chart"),
        "grid": ("GridOptions", "GridResult", "plan_of", "run_grid"),
        "context": ("Context", "RecipeSource", "gather_context"),
    },
)
