"""Regular expressions of `discard`, which come from anywhere: what they may cost is bounded.

Python's own `re` has no limit of time, and some patterns of a few letters need longer than anybody waits.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping

import regex

from loralathe.errors import InputError

LONGEST = 10_000
"""Characters of a pattern."""
MOST_REPEATS = 10_000
"""The product of all numbers in braces: `regex` writes repetitions out when it compiles them."""
SECONDS = 2.0
"""For the names of one file together; a pattern that people write takes milliseconds."""
_REPEATS = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")


def found_by(pattern: str, names: Mapping[str, str], where: str) -> tuple[str, ...]:
    """The keys whose name the pattern finds.

    Raises InputError for what is not a regular expression, or asks for too much.
    """
    compiled = _compiled(pattern, where)
    end = time.monotonic() + SECONDS
    try:
        return tuple(
            key
            for key, name in names.items()
            if compiled.search(name, timeout=max(end - time.monotonic(), 1e-3))
        )
    except TimeoutError:
        raise _refusal(
            pattern,
            f"takes longer than {SECONDS:g} seconds",
            where,
            "repeat nothing that repeats something itself: a+ instead of (a+)+",
        ) from None


def _compiled(pattern: str, where: str) -> regex.Pattern[str]:
    if len(pattern) > LONGEST:
        raise _refusal(pattern, f"is longer than {LONGEST:,} characters", where, "write a shorter one")
    repeats = [max(_number(low), _number(high), 1) for low, high in _REPEATS.findall(pattern)]
    if math.prod(repeats) > MOST_REPEATS:
        raise _refusal(
            pattern, f"repeats more than {MOST_REPEATS:,} times", where, "write smaller numbers in {…}"
        )
    try:
        return regex.compile(pattern, regex.V0)
    except regex.error as error:
        raise _refusal(pattern, f"is not a regular expression: {error}", where) from None
    except (RecursionError, OverflowError, MemoryError):
        raise _refusal(pattern, "is nested too deeply", where, "write a simpler one") from None


def _number(digits: str) -> int:
    return int(digits[:9] or 0)


def _refusal(pattern: str, why: str, where: str, fix: str | None = None) -> InputError:
    return InputError(f"discard = '{pattern:.80}' {why}", where=where, fix=fix, about="discard")
