"""The tiny trained family, and the article's whole method played on it.

`unpack_family` puts the four files into a folder, `family_scorers` reads their pictures, `run_demo` tells
the story and leaves `report.html`. Importing this package imports no torch, numpy or Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names

if TYPE_CHECKING:
    from loralathe.demo.family import TinyFamily, unpack_family, unpack_judge
    from loralathe.demo.judge import family_judge, family_scorers
    from loralathe.demo.play import DemoOptions, DemoResult, run_demo
    from loralathe.demo.settings import start_of_forms

__all__ = [
    "DemoOptions", "DemoResult", "TinyFamily", "family_judge", "family_scorers", "run_demo", "start_of_forms",
    "unpack_family", "unpack_judge",
]  # fmt: skip

__getattr__ = lazy_names(
    __name__,
    {
        "play": ("DemoOptions", "DemoResult", "run_demo"),
        "family": ("TinyFamily", "unpack_family", "unpack_judge"),
        "judge": ("family_judge", "family_scorers"),
        "settings": ("start_of_forms",),
    },
)
