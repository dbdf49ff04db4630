"""What is done to a picture before a model sees it: cut, resized, its values moved and scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Fit = Literal["stretch", "crop"]
Triple = tuple[float, float, float]
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
MOST_SIDE = 1024
"""Pixels. No model of faces or characters reads more."""


@dataclass(frozen=True)
class Preparation:
    """The usual one is ArcFace's: (x − 127.5) / 127.5 of RGB values 0 to 255.

    mean, std: of values 0 to 1, for red, green and blue.
    side: pixels of the square that the model reads; 0 for what the model says of itself.
    fit:  'stretch' makes any picture square; 'crop' resizes the short edge and takes the middle, as CLIP
    does. box:  the part of the picture that is looked at: left, top, right, bottom as shares of it.
    """

    mean: Triple = (0.5, 0.5, 0.5)
    std: Triple = (0.5, 0.5, 0.5)
    side: int = 0
    fit: Fit = "stretch"
    box: Box = WHOLE

    def cut(self, image: Image) -> Image:
        """The part in the box."""
        if self.box == WHOLE:
            return image
        w, h = image.size
        left, top, right, bottom = self.box
        x, y = min(round(left * w), w - 1), min(round(top * h), h - 1)
        return image.crop((x, y, max(round(right * w), x + 1), max(round(bottom * h), y + 1)))

    def values(self, image: Image, side: int) -> NDArray[np.float32]:
        """(3, side, side) as the model wants them."""
        import numpy as np
        from PIL import Image as Pictures

        rgb = image.convert("RGB")
        if self.fit == "crop":
            # The long edge is rounded down, and so is the place of the crop, as transformers does it.
            short = min(rgb.size)
            size = side * rgb.width // short, side * rgb.height // short
            rgb = rgb.resize(size, Pictures.Resampling.BICUBIC)
            x, y = (size[0] - side) // 2, (size[1] - side) // 2
            rgb = rgb.crop((x, y, x + side, y + side))
        elif rgb.size != (side, side):
            rgb = rgb.resize((side, side), Pictures.Resampling.BILINEAR)
        pixels = np.asarray(rgb, dtype=np.float32) / 255
        scaled = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))
