"""Numbers as people type them: plain ASCII decimals, finite, nothing that Python alone would accept."""

from __future__ import annotations

import math
import re

from loralathe.errors import InputError, spelling_hint

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


def looks_like_number(text: str) -> bool:
    """True for decimals, and for nan and inf, so that these are refused as numbers and not taken as names."""
    return bool(_DECIMAL.fullmatch(text.strip()) or _NOT_FINITE.fullmatch(text.strip()))


def parse_number(text: str, meaning: str, *, where: str) -> float:
    """The finite number in `text`; `meaning` names it in the error ("strength", "weight of IN04").

    Raises InputError for anything else, nan, inf and decimals too large for a double included.
    """
    stripped = text.strip()
    if not looks_like_number(stripped):
        fix = spelling_hint(stripped) or "write it like 0.7"
        raise InputError(f"{meaning} '{stripped}' is not a number", where=where, fix=fix)
    value = float(stripped)
    if not math.isfinite(value):
        raise InputError(
            f"{meaning} '{stripped}' is not a finite number",
            where=where,
            fix="write a finite number such as 0.7",
        )
    return value + 0.0  # -0.0 becomes 0.0: the sign of nothing has no meaning and would break canonical texts


def number_text(value: float) -> str:
    """Shortest decimal that reads back as `value`: `1`, `0.7`, `-0.25`, `1e-07`."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
