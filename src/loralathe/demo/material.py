"""Parts of the report: figures, tables, bars and numbers, free of language.

A text that begins with "@" is a key into the report's words; anything else is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """A picture file, and a number to show on it (None for none)."""

    file: Path
    score: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of a figure."""

    label: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Figure:
    """Pictures in rows and columns, the command that makes them, and where they lie.

    key: of the caption.  across, down: titles of the columns and rows.  folder: with the zoomable page.
    """

    key: str
    command: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    across: str = ""
    down: str = ""
    page: str = ""


@dataclass(frozen=True)
class Table:
    """A table of numbers; `commands` make the files that it is about."""

    key: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bar:
    """A block's effect with its interval, the weight suggested, and its pictures."""

    name: str
    mean: float
    low: float
    high: float
    weight: str
    picture: Picture
    difference: Picture


@dataclass(frozen=True)
class Bars:
    """The analyzer's result."""

    key: str
    command: str
    source: Picture
    bars: tuple[Bar, ...]
    page: str = ""


@dataclass(frozen=True)
class Code:
    """A recipe file or commands, verbatim."""

    key: str
    title: str
    text: str


Part = Figure | Table | Bars | Code


@dataclass(frozen=True)
class Chapter:
    """One step of the story. `numbers` fill the places of its prose."""

    key: str
    formulas: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)


def percent(value: float, digits: int = 0) -> str:
    """0.931 → "93 %"."""
    return f"{100 * value:.{digits}f} %"


def mean(values: list[float]) -> float:
    """The mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
