"""A1111's text for a whole grid: the first cell's, then the axes."""

from __future__ import annotations

import json
from collections.abc import Mapping

from loralathe.studies.axis import Axis
from loralathe.studies.plan import GridPlan

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
    if not axis.title:
        return []
    parts = [f"{letter} Type: {_quoted(axis.title)}", f"{letter} Values: {_quoted(axis.text.strip())}"]
    fixed = ", ".join(value.label for value in axis.values)
    if axis.seeds and "-1" in axis.text:
        parts.append(f"Fixed {letter} Values: {_quoted(fixed)}")
    return parts


def _quoted(value: str) -> str:
    """JSON quotes when the value holds a comma, a colon or a new line, as A1111 does."""
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ",:\n") else value
