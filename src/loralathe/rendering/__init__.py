"""Pictures: a pipeline from one file, prompts, samplers, adapters applied per image at run time.

`ImageRequest` describes one image; a `Renderer` turns requests into pictures; `LocalRenderer` does so on
this machine (`loralathe.rendering.local`; importing this package imports no torch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.rendering.request import ImageRequest, OnImage, Renderer

if TYPE_CHECKING:
    from loralathe.rendering.local import LocalRenderer
    from loralathe.rendering.runtime import Presets

__all__ = ["ImageRequest", "LocalRenderer", "OnImage", "Presets", "Renderer"]

_LAZY = {"LocalRenderer": "local", "Presets": "runtime"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
