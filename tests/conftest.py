"""For all tests: one language, nobody's own folders, the same examples on CI, and `quick(n)`."""

from __future__ import annotations

import os
from collections import defaultdict

import pytest
from hypothesis import settings

import words.heard  # noqa: F401  it listens from here on

os.environ["LORALATHE_CONFIG"] = os.devnull  # nobody's own folders: no test reads or writes them
os.environ.setdefault("LORALATHE_CACHE", os.devnull)  # nor anybody's cache: tests that need one have theirs
os.environ["LC_ALL"] = "C.UTF-8"  # the command speaks the language of the terminal: English here

settings.register_profile("usual", deadline=None)  # a busy machine takes its time
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("many", max_examples=5000, deadline=None, print_blob=True)
"""pytest --hypothesis-profile=many"""
settings.load_profile("ci" if os.environ.get("CI") else "usual")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `quick(n)` only n cases, evenly spread, are quick; `make test-slow` runs all."""
    cases: dict[tuple[str, int], list[pytest.Item]] = defaultdict(list)
    for item in items:
        if mark := item.get_closest_marker("quick"):
            cases[item.nodeid.partition("[")[0], mark.args[0]].append(item)
    for (_, count), found in cases.items():
        kept = {number * len(found) // count for number in range(count)}
        for number, item in enumerate(found):
            if number not in kept:
                item.add_marker(pytest.mark.slow)
