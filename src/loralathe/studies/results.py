"""A study as text: one row for every cell as CSV and JSON, and A1111's infotext for the whole grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from loralathe.studies.axis import Axis
from loralathe.studies.commands import CellRecipe
from loralathe.studies.measured import NO_CARD, CardFile
from loralathe.studies.plan import Cell, GridPlan
from loralathe.studies.study_file import csv_file, csv_number, json_file

Scores: TypeAlias = Mapping[str, float | None]

REQUEST_FIELDS = (
    "seed",
    "steps",
    "cfg",
    "sampler",
    "schedule",
    "width",
    "height",
    "clip_skip",
    "checkpoint",
    "vae",
)
"""Columns that stand as they are in the request."""


@dataclass(frozen=True)
class CellResult:
    """A cell with what was measured on it; `done` says whether its picture is there."""

    cell: Cell
    done: bool
    scores: Scores
    recipe: CellRecipe | None

    @property
    def file(self) -> str:
        """The picture, relative to the study's folder."""
        return f"cells/{self.cell.key}.png"


def results_csv(plan: GridPlan, results: Sequence[CellResult]) -> bytes:
    """A row for every cell."""
    axes = [(index, axis.title) for index, axis in enumerate(plan.axes) if axis.title]
    titles = {title for _, title in axes}
    # A variable that an axis sweeps has the axis' column already.
    variables = [name for name, _ in results[0].cell.variables if name not in titles] if results else []
    names = list(results[0].scores) if results else []
    heads = [*(title for _, title in axes), *variables, *names, *REQUEST_FIELDS]
    rows: list[Sequence[object]] = [["x", "y", "z", *heads, "prompt", "done", "file", "command"]]
    for result in results:
        cell = result.cell
        row = [
            *(index + 1 for index in cell.position),
            *(cell.labels[index] for index, _ in axes),
            *(value for name, value in cell.variables if name in variables),
            *(csv_number(result.scores[name]) for name in names),
            *(getattr(cell.request, field) for field in REQUEST_FIELDS),
            cell.request.prompt,
            int(result.done),
            result.file,
            result.recipe.command if result.recipe else "",
        ]
        rows.append(row)
    return csv_file(rows)


def results_json(
    plan: GridPlan,
    results: Sequence[CellResult],
    groups: Sequence[Mapping[str, object]] = (),
    card: CardFile = NO_CARD,
) -> bytes:
    """Axes and cells, with the whole request of each; groups of cells that differ by seed, if there are
    any; the identity card's file and its SHA-256.
    """
    axes = [
        {"title": axis.title, "text": axis.text.strip(), "values": [value.label for value in axis.values]}
        for axis in plan.axes
        if axis.title
    ]
    cells = [
        {
            "position": list(result.cell.position),
            "labels": list(result.cell.labels),
            "key": result.cell.key,
            "file": result.file,
            "done": result.done,
            "scores": dict(result.scores),
            "variables": dict(result.cell.variables),
            "command": result.recipe.command if result.recipe else None,
            "request": result.cell.request.to_json(),
        }
        for result in results
    ]
    named = None if card == NO_CARD else dict(zip(("file", "sha256"), card, strict=True))
    whole: dict[str, object] = {"version": 1, "axes": axes, "card": named, "cells": cells}
    whole |= {"groups": list(groups)} if groups else {}
    return json_file(whole) + b"\n"


_LETTERS = "XYZ"


def grid_infotext(plan: GridPlan, first: Mapping[str | tuple[int, int], object]) -> dict[str, str]:
    """`{"parameters": …}` for the grid's PNG, or nothing when the first cell carries no text."""
    text = own_text(first).get("parameters")
    if text is None:
        return {}
    parts = ["Script: X/Y/Z plot"]
    for letter, axis in zip(_LETTERS, plan.axes, strict=True):
        parts += _axis_parts(letter, axis)
    return {"parameters": f"{text}, {', '.join(parts)}"}


def own_text(info: Mapping[str | tuple[int, int], object]) -> dict[str, str]:
    """`{"parameters": …}` of a picture, or nothing."""
    text = info.get("parameters")
    return {"parameters": text} if isinstance(text, str) else {}


def _axis_parts(letter: str, axis: Axis) -> list[str]:
    from loralathe.rendering.infotext import quoted_entry  # brings torch, which a server of pages needs not

    if not axis.title:
        return []
    parts = [
        f"{letter} Type: {quoted_entry(axis.title)}",
        f"{letter} Values: {quoted_entry(axis.text.strip())}",
    ]
    fixed = ", ".join(value.label for value in axis.values)
    if axis.seeds and "-1" in axis.text:
        parts.append(f"Fixed {letter} Values: {quoted_entry(fixed)}")
    return parts
