"""From a finished grid to a figure and to means."""

from __future__ import annotations

from collections.abc import Sequence

from loralathe.demo.judge import CAPTION, IS_HINA
from loralathe.demo.material import Figure, Picture, Row, Table, mean, percent
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import GridTask
from loralathe.studies import CellResult, GridResult

AXES = {
    "Checkpoint": "@axis_checkpoint",
    "LoRA": "@axis_lora",
    "Prompt S/R": "@axis_prompt",
    "Seed": "@axis_seed",
}
"""What the report calls the axes of a grid; a LoRA's or a variable's own name stays."""


def figure_of(
    studio: Studio, task: GridTask, result: GridResult, key: str, *, score: str = IS_HINA
) -> Figure:
    """The grid as a figure with one score on every picture."""
    x, y, _ = result.plan.axes
    folder = studio.path(task.name)
    rows = tuple(
        Row(
            value.label, tuple(Picture(folder / cell.file, cell.scores[score]) for cell in row_of(result, at))
        )
        for at, value in enumerate(y.values)
    )
    return Figure(
        key,
        task.command(),
        tuple(value.label for value in x.values),
        rows,
        AXES.get(x.title, x.title),
        AXES.get(y.title, y.title),
        f"{task.name}/grid.html",
    )


def column_means(result: GridResult, *more: tuple[str, Sequence[float]]) -> Table:
    """Under a figure: how much of Hina each of its columns shows, and of the prompts; and other rows."""
    x, _, _ = result.plan.axes
    rows = [("@col_identity", means_of(result, IS_HINA)), ("@col_prompt", means_of(result, CAPTION)), *more]
    shown = tuple((label, tuple(map(percent, values))) for label, values in rows)
    return Table("columns", tuple(value.label for value in x.values), shown)


def means_of(result: GridResult, score: str) -> list[float]:
    """The score's mean over each column."""
    x, _, _ = result.plan.axes
    return [mean_score(column_of(result, at), score) for at in range(len(x.values))]


def row_of(result: GridResult, at: int) -> list[CellResult]:
    """The cells of a row."""
    return [cell for cell in result.cells if cell.cell.position[1] == at]


def column_of(result: GridResult, at: int) -> list[CellResult]:
    """The cells of a column."""
    return [cell for cell in result.cells if cell.cell.position[0] == at]


def mean_score(cells: list[CellResult], score: str) -> float:
    """Mean over the cells that have this score."""
    return mean([value for cell in cells if (value := cell.scores[score]) is not None])


def curve_text(strengths: Sequence[float], values: Sequence[float]) -> str:
    """`0 → 21 %, 0.7 → 90 %`."""
    return ", ".join(f"{s:g} → {percent(value)}" for s, value in zip(strengths, values, strict=True))
