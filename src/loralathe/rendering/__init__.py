"""Pictures: a pipeline from one file, prompts, samplers, adapters applied per image at run time.

`ImageRequest` describes one image; a `Renderer` turns requests into pictures.
"""

from loralathe.rendering.request import AdapterUse, ImageRequest, OnImage, Renderer

__all__ = ["AdapterUse", "ImageRequest", "OnImage", "Renderer"]
