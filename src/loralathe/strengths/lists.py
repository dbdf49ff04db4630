"""The values of an axis as text: A1111's grammar, in decimal arithmetic and with positions in errors.

    0, 0.3, 0.5          a list (CSV quoting, new lines separate too)
    1-5   1..5           a range, step 1 or -1
    0-1 (+0.25)          a range with a step; the end is taken when a step lands on it, never passed
    1..10 [5]            five evenly spaced values, both ends included (truncated on whole-number axes)
    "a, b", c            quoted items may hold commas; "" is a quote
    'a, b', c            the same, for lists that stand in double quotes themselves; '' is a quote

A1111 knows only double quotes. Its four other differences are defects: float ranges overshoot their end,
descending whole-number ranges lose it, `-5--3` fails on float axes, and `0.1-0.5` silently gives 0.1 and 1.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from loralathe.errors import InputError, spelling_hint, visible
from loralathe.strengths.text import looks_like_number, parse_number

MAX_VALUES = 10_000

_NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)"
_SINGLE = re.compile(r"'((?:[^']|'')*)'[^\S\n]*(?=[,\n]|$)")
"""In single quotes up to a comma or the end; anything else may begin with an apostrophe."""
_RANGE = re.compile(
    rf"(?P<first>{_NUMBER})\s*(?:-|\.\.)\s*(?P<last>{_NUMBER})\s*"
    rf"(?:\(\s*(?P<step>{_NUMBER})\s*\)|\[\s*(?P<count>\d+)\s*\])?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list: its text without quotes, and where it starts (characters, from 0)."""

    text: str
    position: int


def split_items(text: str) -> tuple[Item, ...]:
    """Cut at commas and new lines outside quotes; blanks around items are dropped, empty items kept.

    Raises InputError for a quote that never closes, or text after a closing quote.
    """
    items: list[Item] = []
    position = 0
    while True:
        item, position = _read_item(text, position)
        items.append(item)
        if position >= len(text):
            return tuple(items)
        position += 1  # the separator


def _read_item(text: str, position: int) -> tuple[Item, int]:
    while position < len(text) and text[position] in " \t\r":
        position += 1
    if position < len(text) and text[position] == '"':
        return _read_quoted(text, position)
    if single := _SINGLE.match(text, position):
        return Item(single[1].replace("''", "'").strip(), position), single.end()
    end = position
    while end < len(text) and text[end] not in ",\n":
        end += 1
    return Item(text[position:end].strip(), position), end


def _read_quoted(text: str, start: int) -> tuple[Item, int]:
    parts: list[str] = []
    position = start + 1
    while True:
        close = text.find('"', position)
        if close < 0:
            raise value_error("this quote is never closed", text, start, 'end the item with "')
        parts.append(text[position:close])
        if text[close + 1 : close + 2] != '"':
            break
        parts.append('"')
        position = close + 2
    end = close + 1
    while end < len(text) and text[end] not in ",\n":
        if not text[end].isspace():
            raise value_error(
                "text follows a closing quote", text, end, 'put a comma between, or write "" for a quote'
            )
        end += 1
    return Item("".join(parts).strip(), start), end


def value_error(what: str, text: str, position: int, fix: str | None = None) -> InputError:
    """An InputError that shows the text and points at a character of it."""
    shown = text.replace("\n", " ")
    return InputError(what, where=f"character {position + 1}\n    {shown}\n    {' ' * position}^", fix=fix)


def parse_floats(text: str) -> tuple[float, ...]:
    """Values of a decimal axis; `0-0.3 (+0.1)` gives 0, 0.1, 0.2 and 0.3 exactly as typed."""
    return tuple(float(value) for value in _numbers(text, whole=False))


def parse_ints(text: str) -> tuple[int, ...]:
    """Values of a whole-number axis; counts truncate toward zero as in A1111: `1-10 [5]` is 1 3 5 7 10."""
    return tuple(int(value) for value in _numbers(text, whole=True))


def parse_texts(text: str) -> tuple[str, ...]:
    """Values of a text axis, in order; an empty middle item stays (it means "remove" to prompt S/R)."""
    return tuple(item.text for item in split_items(text))


_SPACED = re.compile(r",[ \t]+|\n")
_PART = re.compile(r"[+-]?\d{1,3}(?:,\d{1,3})?", re.ASCII)
_UNSPACED = re.compile(r"[+-]?0,(?:[2-9]|\d{2,3})(?=,|$)|[+-]?[01](?=,|$)", re.ASCII)


def decimal_comma_note(text: str) -> str | None:
    """What to tell about `0, 0,3, 0,5`: it is read as whole numbers, and was probably meant with points.

    As whole numbers they jump back and forth; with points they rise or fall. Where a blank follows some
    commas, the others are decimal ones; without any blank, one after 0 is. `0,3` alone is told, `0,1` is not.
    """
    written = visible(text).strip()
    parts = [part.strip() for part in _SPACED.split(written)]
    if len(parts) == 1:
        parts = _UNSPACED.findall(written)
        if ",".join(parts) != written:
            return None
    if not any("," in part for part in parts) or not all(map(_PART.fullmatch, parts)):
        return None
    decimals = [part.replace(",", ".") for part in parts]
    whole = [float(number) for part in parts for number in part.split(",")]
    if parts != [written] and (_is_monotone(whole) or not _is_monotone([float(one) for one in decimals])):
        return None
    return f"'{written}' is read as {len(whole)} whole numbers; a decimal has a point: {', '.join(decimals)}"


def _is_monotone(values: list[float]) -> bool:
    """Whether each is larger than the one before, or each smaller."""
    steps = [b - a for a, b in pairwise(values)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)


def _numbers(text: str, *, whole: bool) -> list[Fraction]:
    values: list[Fraction] = []
    for item in split_items(text):
        if item.text:
            values.extend(_item_values(text, item, whole=whole))
    if not values:
        raise InputError(
            "no values were given", where=f"'{text}'", fix="for example: 0, 0.3, 0.5 or 0..1 (+0.25)"
        )
    return values


def _item_values(text: str, item: Item, *, whole: bool) -> list[Fraction]:
    if looks_like_number(item.text):
        return [_exact(text, item, item.text, whole=whole)]
    match = _RANGE.fullmatch(visible(item.text))
    if match is None:
        raise value_error(
            f"'{item.text}' is neither a number nor a range",
            text,
            item.position,
            spelling_hint(text) or _with_commas(item.text) or "write 0.5, or 0-1 (+0.25), or 0..1 [5]",
        )
    first, last = (_exact(text, item, match[name], whole=whole) for name in ("first", "last"))
    if match["count"] is not None:
        return _spaced(text, item, first, last, int(match["count"]), whole=whole)
    step = None if match["step"] is None else _exact(text, item, match["step"], whole=whole)
    return _stepped(text, item, first, last, step)


def _with_commas(text: str) -> str | None:
    words = text.split()
    listed = len(words) > 1 and all(map(looks_like_number, words))
    return f"values are separated by commas: {', '.join(words)}" if listed else None


def _exact(text: str, item: Item, number: str, *, whole: bool) -> Fraction:
    """The number as it is written in decimals; one with an exponent, which may be huge, as a double."""
    try:
        double = parse_number(number)
    except InputError as error:
        raise value_error(error.what, text, item.position, error.fix) from None
    value = Fraction(double if "e" in number.lower() else Decimal(visible(number).strip()))
    if whole and value.denominator != 1:
        raise value_error(f"'{item.text}': this axis takes whole numbers", text, item.position)
    return value


def _stepped(text: str, item: Item, first: Fraction, last: Fraction, step: Fraction | None) -> list[Fraction]:
    given = step is not None
    if step is None:
        step = Fraction(1 if last >= first else -1)
    if step == 0:
        raise value_error(
            "a step of 0 never arrives", text, item.position, f"{first}..{last} [5] gives five values"
        )
    if (last - first) * step < 0:
        raise value_error(
            f"'{item.text}' steps away from its end",
            text,
            item.position,
            "turn the sign of the step, or the ends",
        )
    if not given and abs(last - first) < 1 and first != last:
        raise value_error(
            f"'{item.text}' has no step, and the usual step of 1 passes its end",
            text,
            item.position,
            f"write {item.text} (+0.1) or {item.text} [5]",
        )
    count = (last - first) // step + 1
    _check_count(text, item, count)
    return [first + step * index for index in range(count)]


def _spaced(
    text: str, item: Item, first: Fraction, last: Fraction, count: int, *, whole: bool
) -> list[Fraction]:
    if count == 0:
        raise value_error(f"'{item.text}' asks for no values", text, item.position, "put at least 1 in [ ]")
    _check_count(text, item, count)
    if count == 1:
        return [first]
    values = [first + (last - first) * Fraction(index, count - 1) for index in range(count)]
    return [Fraction(int(value)) for value in values] if whole else values


def _check_count(text: str, item: Item, count: int) -> None:
    if count > MAX_VALUES:
        raise value_error(f"'{item.text}' makes {count:,} values", text, item.position, "take a larger step")
