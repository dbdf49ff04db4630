"""An axis: a title and its values, each a function from cell to cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from loralathe.strengths import decimal_comma_note, parse_floats, show_number
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context

T = TypeVar("T")


class Stage(IntEnum):
    """When an axis is applied: text axes see the raw prompt, before its tags become adapters; axes over
    single blocks change a part of the block weights that another axis may set."""

    TEXT = 0
    REQUEST = 1
    BLOCK = 2


@dataclass(frozen=True, slots=True)
class AxisValue:
    """One value: what the legend shows, and what it does to a cell."""

    label: str
    apply: Callable[[CellBuilder], CellBuilder]


@dataclass(frozen=True, slots=True)
class Axis:
    """`cost` orders the work: an expensive axis (1 = load a checkpoint) becomes an outer loop.

    notes: what is odd in its values and probably not meant.
    sets: what its values decide, in words: of two axes that set the same, one would undo the other.
    adds: it adds to what another such axis sets.
    """

    title: str
    values: tuple[AxisValue, ...]
    cost: float = 0.0
    stage: Stage = Stage.REQUEST
    text: str = ""
    notes: tuple[str, ...] = ()
    sets: frozenset[str] = frozenset()
    seeds: bool = False
    adds: bool = False


@dataclass(frozen=True, slots=True)
class AxisSpec:
    """The text that a person wrote for an axis: `hina strength = 0, 0.5` has target `hina` and text `0, 0.5`;
    `hina IN04 = 1` has selector `IN04`."""

    title: str
    target: str
    text: str
    base: CellBuilder
    context: Context
    selector: str = ""


Build = Callable[[AxisSpec], Axis]


@dataclass(frozen=True, slots=True)
class AxisKind:
    """A kind of axis: the names people give it, how it is built, and whether an adapter's name may lead."""

    names: tuple[str, ...]
    build: Build
    targeted: bool = False
    example: str = ""


def each(
    values: Iterable[T], label: Callable[[T], str], change: Callable[[CellBuilder, T], CellBuilder]
) -> tuple[AxisValue, ...]:
    """One `AxisValue` for every value, which applies `change(cell, value)`."""

    def bound(value: T) -> Callable[[CellBuilder], CellBuilder]:
        return lambda cell: change(cell, value)

    return tuple(AxisValue(label(value), bound(value)) for value in values)


def decimal_axis(
    title: str,
    spec: AxisSpec,
    cost: float,
    change: Callable[[CellBuilder, float], CellBuilder],
    sets: frozenset[str],
    stage: Stage = Stage.REQUEST,
) -> Axis:
    """An axis of decimals, with a note where commas were probably meant as points."""
    note = decimal_comma_note(spec.text)
    notes = (f"axis {title}: {note}",) if note else ()
    values = each(parse_floats(spec.text), show_number, change)
    return Axis(title, values, cost, stage, spec.text, notes, sets)


NOTHING = Axis("", (AxisValue("", lambda cell: cell),))
