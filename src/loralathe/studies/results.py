"""A study's numbers as files: one row for every cell, as CSV for a table and JSON for a program."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from loralathe.studies.commands import Recipe
from loralathe.studies.plan import Cell, GridPlan

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
    recipe: Recipe | None

    @property
    def file(self) -> str:
        """The picture, relative to the study's folder."""
        return f"cells/{self.cell.key}.png"


def results_csv(plan: GridPlan, results: Sequence[CellResult]) -> bytes:
    """UTF-8 with a byte-order mark, so that spreadsheets read Chinese text as it is."""
    axes = [(index, axis.title) for index, axis in enumerate(plan.axes) if axis.title]
    titles = {title for _, title in axes}
    # A variable that an axis sweeps has the axis' column already.
    variables = [name for name, _ in results[0].cell.variables if name not in titles] if results else []
    names = list(results[0].scores) if results else []
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        [
            "x",
            "y",
            "z",
            *(title for _, title in axes),
            *variables,
            *names,
            *REQUEST_FIELDS,
            "prompt",
            "done",
            "file",
            "command",
        ]
    )
    for result in results:
        cell = result.cell
        writer.writerow(
            [
                *(index + 1 for index in cell.position),
                *(cell.labels[index] for index, _ in axes),
                *(value for name, value in cell.variables if name in variables),
                *(_number(result.scores[name]) for name in names),
                *(getattr(cell.request, field) for field in REQUEST_FIELDS),
                cell.request.prompt,
                int(result.done),
                result.file,
                result.recipe.command if result.recipe else "",
            ]
        )
    return b"\xef\xbb\xbf" + buffer.getvalue().encode()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def results_json(plan: GridPlan, results: Sequence[CellResult]) -> bytes:
    """Axes and cells, with the whole request of each."""
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
    return (
        json.dumps({"version": 1, "axes": axes, "cells": cells}, ensure_ascii=False, indent=1).encode()
        + b"\n"
    )
