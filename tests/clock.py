"""What something may take, beside a known piece of work: a slow or busy processor takes longer for both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


def seconds_of_a_million() -> float:
    """Seconds of a processor for a million additions in Python; here and now."""
    start, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return time.process_time() - start


@contextmanager
def at_most(millions: float) -> Iterator[None]:
    """What runs inside takes a processor no longer than so many million additions."""
    before, start = seconds_of_a_million(), time.process_time()
    yield
    spent = time.process_time() - start
    loop = max(before, seconds_of_a_million())
    assert spent < millions * loop, f"{spent:.2f} s, as long as {spent / loop:.0f} million additions"
