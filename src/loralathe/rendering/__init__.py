"""Pictures: a pipeline from one file, prompts, samplers, adapters applied per image at run time.

`ImageRequest` describes one image; a `Renderer` turns requests into pictures; `LocalRenderer` does so on
this machine (`loralathe.rendering.local`; importing this package imports no torch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names
from loralathe.rendering.hires import UPSCALERS, Hires
from loralathe.rendering.request import ImageRequest, OnImage, Renderer

if TYPE_CHECKING:
    from loralathe.rendering.local import LocalRenderer
    from loralathe.rendering.runtime import Presets

__all__ = ["UPSCALERS", "Hires", "ImageRequest", "LocalRenderer", "OnImage", "Presets", "Renderer"]

_HOMES = {"local": ("LocalRenderer",), "runtime": ("Presets",)}

__getattr__ = lazy_names(__name__, _HOMES)
