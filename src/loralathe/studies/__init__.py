"""Studies: many pictures that differ in chosen ways, drawn side by side and measured.

A cell is a frozen request; a plan orders the cells; a store keeps every finished one. `run_grid` and
`analyze_blocks` are the two doors; importing this package imports no torch, numpy or Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names

if TYPE_CHECKING:
    from loralathe.studies.analyzer import BlockEffect, BlockReport, BlocksOptions, analyze_blocks, bar_chart
    from loralathe.studies.axes_prompt import placeholders_explained
    from loralathe.studies.context import Context, RecipeSource, gather_context
    from loralathe.studies.grid import GridOptions, GridResult, notes_of, plan_of, run_grid
    from loralathe.studies.metrics import changed_percentage, pixels_of
    from loralathe.studies.plan import GridPlan, Position
    from loralathe.studies.recipes import RecipeWeights
    from loralathe.studies.results import CellResult
    from loralathe.studies.scorers import (
        DEFAULT_SCORERS,
        IdentityScorer,
        PromptScorer,
        Scored,
        Scorer,
        plain_prompt,
    )
    from loralathe.studies.store import CellStore, SeedBook
    from loralathe.studies.weights import WeightStudy, study_weights

__all__ = [
    "DEFAULT_SCORERS", "BlockEffect", "BlockReport", "BlocksOptions", "CellResult", "CellStore", "Context",
    "GridOptions", "GridPlan", "GridResult", "IdentityScorer", "Position", "PromptScorer", "RecipeSource",
    "RecipeWeights", "Scored", "Scorer", "SeedBook", "WeightStudy", "analyze_blocks", "bar_chart",
    "changed_percentage", "gather_context", "notes_of", "pixels_of", "placeholders_explained",
    "plain_prompt", "plan_of", "run_grid", "study_weights",
]  # fmt: skip

__getattr__ = lazy_names(
    __name__,
    {
        "analyzer": (
            "BlockEffect",
            "BlockReport",
            "BlocksOptions",
            "analyze_blocks",
            "bar_chart",
        ),
        "axes_prompt": ("placeholders_explained",),
        "context": (
            "Context",
            "RecipeSource",
            "gather_context",
        ),
        "grid": (
            "GridOptions",
            "GridResult",
            "notes_of",
            "plan_of",
            "run_grid",
        ),
        "metrics": (
            "changed_percentage",
            "pixels_of",
        ),
        "plan": (
            "GridPlan",
            "Position",
        ),
        "recipes": ("RecipeWeights",),
        "results": ("CellResult",),
        "scorers": (
            "DEFAULT_SCORERS",
            "IdentityScorer",
            "PromptScorer",
            "Scored",
            "Scorer",
            "plain_prompt",
        ),
        "store": (
            "CellStore",
            "SeedBook",
        ),
        "weights": (
            "WeightStudy",
            "study_weights",
        ),
    },
)
