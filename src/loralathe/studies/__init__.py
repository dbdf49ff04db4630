"""Studies: many pictures that differ in chosen ways, drawn side by side and measured.

A cell is a frozen request; a plan orders the cells; a store keeps every finished one. `run_grid` and
`analyze_blocks` are the two doors; importing this package imports no torch, numpy or Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loralathe.studies.analyzer import BlockReport, BlocksOptions, analyze_blocks, bar_chart
    from loralathe.studies.cell_builder import Context, RecipeSource
    from loralathe.studies.context import gather_context
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

_LAZY = {
    "BlockReport": "analyzer",
    "BlocksOptions": "analyzer",
    "Context": "cell_builder",
    "GridOptions": "grid",
    "GridResult": "grid",
    "RecipeSource": "cell_builder",
    "analyze_blocks": "analyzer",
    "bar_chart": "analyzer",
    "gather_context": "context",
    "plan_of": "grid",
    "run_grid": "grid",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
