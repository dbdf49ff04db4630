"""For all tests: one language; on CI hypothesis draws the same examples every time, so that runs repeat."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ["LC_ALL"] = "C.UTF-8"  # the command speaks the language of the terminal: English here

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
