"""What people type, read by one rule everywhere (SEMANTICS §8): numbers, sizes and names.

Numbers are a sign, ASCII digits, one decimal point and an exponent. Invisible characters, which come along
when text is copied from a page, are dropped; full-width digits and signs are refused with the corrected text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from loralathe.errors import InputError, did_you_mean, spelling_hint, visible
from loralathe.tensorfiles import name_key

DECIMAL = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
"""Pattern of a number, for `re.ASCII`."""

LONGEST_WHOLE = 300
"""Digits of a whole number that anybody means."""
LONGEST_SHOWN = 60
"""Digits that an error repeats."""

_DECIMAL = re.compile(DECIMAL, re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_UNDERSCORED = re.compile(r"[+-]?\d[\d.]*(_[\d.]+)+", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:([KMGT])(I?))?B?", re.ASCII | re.IGNORECASE)


def looks_like_number(text: str) -> bool:
    """True for decimals, and for nan and inf, so that these are refused as numbers and not taken as names."""
    stripped = visible(text).strip()
    return bool(_DECIMAL.fullmatch(stripped) or _NOT_FINITE.fullmatch(stripped))


def parse_number(text: str, meaning: str = "", *, where: str | None = None) -> float:
    """The finite number in `text`; `meaning` names it in the error ("strength", "weight of IN04").

    Raises InputError for anything else, nan, inf and decimals too large for a double included.
    """
    stripped = visible(text).strip()
    called = f"{meaning} '{stripped}'".lstrip()
    if not looks_like_number(stripped):
        raise InputError(f"{called} is not a number", where=where, fix=_number_fix(stripped, "0.7"))
    value = float(stripped)
    if not math.isfinite(value):
        raise InputError(
            f"{called} is not a finite number", where=where, fix="write a finite number such as 0.7"
        )
    return value + 0.0  # -0.0 becomes 0.0: the sign of nothing has no meaning and would break canonical texts


def parse_whole(text: str, meaning: str = "", *, where: str | None = None) -> int:
    """The whole number in `text`; raises InputError as `parse_number`."""
    stripped = visible(text).strip()
    if not _WHOLE.fullmatch(stripped) or len(stripped) > LONGEST_WHOLE:
        shown = stripped if len(stripped) <= LONGEST_SHOWN else f"{stripped[:LONGEST_SHOWN]}…"
        called = f"{meaning} '{shown}'".lstrip()
        raise InputError(f"{called} is not a whole number", where=where, fix=_number_fix(stripped, "20"))
    return int(stripped)


def _number_fix(text: str, example: str) -> str:
    if _UNDERSCORED.fullmatch(text):
        return f"numbers have no '_': {text.replace('_', '')}"
    if _COMMA.fullmatch(text) and "." in example:
        return f"a decimal has a point: {text.replace(',', '.')}"
    return spelling_hint(text) or f"write one such as {example}"


def parse_size(text: str, meaning: str = "size", *, where: str | None = None) -> int:
    """Bytes of `100MB` (10⁶, as disks and reports count), `100MiB` (2²⁰), `1.5GB`, `4096`.

    Raises InputError for anything else, and for less than one byte.
    """
    stripped = visible(text).strip()
    match = _SIZE.fullmatch(stripped)
    if match is None:
        fix = spelling_hint(stripped) or "write 100MB, 1.5GB or 64MiB"
        raise InputError(f"'{stripped}' is not a {meaning}", where=where, fix=fix)
    power = " KMGT".index((match[2] or " ").upper())
    nbytes = int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    if nbytes < 1:
        raise InputError(f"a {meaning} of '{stripped}' is less than a byte", where=where, fix="write 100MB")
    return nbytes


def number_text(value: float) -> str:
    """Shortest decimal that reads back as `value`: `1`, `0.7`, `-0.25`, `1e-07`."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def show_number(value: float) -> str:
    """A number for people, at most 8 decimals: `0.3`, `7`, `-0.35`."""
    shown = f"{value:.8f}".rstrip("0").rstrip(".")
    return "0" if shown in ("-0", "") else shown


def match_name(text: str, known: Iterable[str]) -> str | None:
    """The name that is `text`; otherwise the only one that differs from it in case alone; otherwise None.

    Both Unicode normal forms of a name are the same name.
    """
    wanted = visible(text).strip()
    names = list(dict.fromkeys(known))
    if wanted in names:
        return wanted
    key = name_key(wanted)
    for found in ([name for name in names if name_key(name) == key], _alike(wanted, names)):
        if found:
            return found[0] if len(found) == 1 else None
    return None


def find_name(text: str, known: Iterable[str], noun: str, *, where: str | None = None, fix: str = "") -> str:
    """`match_name`, or an InputError with close names; `fix` is said where no name is close."""
    names = list(known)
    found = match_name(text, names)
    if found is None:
        raise InputError(
            f"there is no {noun} '{text.strip()}'", where=where, fix=name_hint(text, names) or fix or None
        )
    return found


def name_hint(text: str, known: Iterable[str]) -> str:
    """What was probably meant by a name that `match_name` does not find; "" when nothing is close."""
    names = list(known)
    alike = _alike(visible(text).strip(), names)
    if len(alike) > 1:
        return "these differ in case alone, write one of them exactly: " + ", ".join(alike)
    return did_you_mean(text.strip(), names) or spelling_hint(text.strip()) or ""


def _alike(wanted: str, names: Iterable[str]) -> list[str]:
    folded = name_key(wanted).casefold()
    return list(dict.fromkeys(name for name in names if name_key(name).casefold() == folded))


def look_up(text: str, table: Mapping[str, str]) -> str | None:
    """What a table says about the name that `text` means, or None."""
    name = match_name(text, table)
    return None if name is None else table[name]
