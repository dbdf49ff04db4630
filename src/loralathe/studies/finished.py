"""The cells of a finished grid, read from its results.json."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from loralathe.errors import InputError
from loralathe.studies.plan import Position
from loralathe.tensorfiles import read_text

_KEY = re.compile(r"[0-9a-f]{24}")


def read_cells(folder: Path) -> dict[Position, str]:
    """Position of each cell of a finished grid → its key, in layout order. InputError where there is none."""
    path = folder / "results.json"
    foreign = InputError(
        "these are not the results of a grid", where=str(path), fix="give the folder of a finished grid"
    )
    try:
        found = json.loads(read_text(path, "JSON file"))["cells"]
        cells = {_position(cell["position"]): str(cell["key"]) for cell in found}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise foreign from error
    for key in cells.values():
        if not _KEY.fullmatch(key):
            raise foreign
    return cells


def _position(value: Sequence[int]) -> Position:
    x, y, z = map(int, value)
    return x, y, z
