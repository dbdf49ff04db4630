"""For all tests: one language, and nobody's own folders; on CI hypothesis draws the same examples."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ["LORALATHE_CONFIG"] = os.devnull  # nobody's own folders: no test reads or writes them
os.environ.setdefault("LORALATHE_CACHE", os.devnull)  # nor anybody's cache: tests that need one have theirs
os.environ["LC_ALL"] = "C.UTF-8"  # the command speaks the language of the terminal: English here

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
