"""The tiny trained family, and the article's whole method played on it.

`unpack_family` puts the four files into a folder, `family_scorers` reads their pictures, `run_demo` tells
the story and leaves `report.html`. Importing this package imports no torch, numpy or Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loralathe.demo.family import TinyFamily, unpack_family
    from loralathe.demo.judge import family_scorers
    from loralathe.demo.play import DemoOptions, DemoResult, run_demo

__all__ = ["DemoOptions", "DemoResult", "TinyFamily", "family_scorers", "run_demo", "unpack_family"]

_LAZY = {
    "DemoOptions": "play",
    "DemoResult": "play",
    "TinyFamily": "family",
    "family_scorers": "judge",
    "run_demo": "play",
    "unpack_family": "family",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
