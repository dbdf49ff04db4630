"""Hires fix, as it is asked for: a second pass over the enlarged picture. Torch-free.

A1111's rule: the first pass makes a picture of the usual size, which is enlarged, as latents or as pixels.
The second pass adds noise to it and takes it away again, at the large size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from loralathe.errors import InputError, option
from loralathe.strengths import find_name


@dataclass(frozen=True, slots=True)
class Upscaler:
    """How a picture is enlarged. latents: before the VAE decodes it, else after.

    mode: of `torch.nn.functional.interpolate` for latents, of Pillow for pixels.
    """

    latents: bool
    mode: str
    antialias: bool = False


UPSCALERS: Mapping[str, Upscaler] = MappingProxyType({
    "Latent": Upscaler(True, "bilinear"),
    "Latent (antialiased)": Upscaler(True, "bilinear", antialias=True),
    "Latent (bicubic)": Upscaler(True, "bicubic"),
    "Latent (bicubic antialiased)": Upscaler(True, "bicubic", antialias=True),
    "Latent (nearest)": Upscaler(True, "nearest"),
    "Latent (nearest-exact)": Upscaler(True, "nearest-exact"),
    "None": Upscaler(False, "LANCZOS"),  # A1111's "None" resizes so, too
    "Lanczos": Upscaler(False, "LANCZOS"),
    "Nearest": Upscaler(False, "NEAREST"),
})  # fmt: skip
"""By A1111's names."""


@dataclass(frozen=True, slots=True)
class Hires:
    """A second pass.

    scale:     1 or more;  upscaler: one of `UPSCALERS`.
    steps:     of the second pass; 0 is as many as the first has.
    denoising: how much of the picture is made anew: 1 is all, 0 only enlarges it.
    Raises InputError for an unknown upscaler and for numbers that make no sense.
    """

    scale: float
    upscaler: str = "Latent"
    steps: int = 0
    denoising: float = 0.7

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale >= 1):
            raise InputError(
                f"hires fix by {self.scale} does not enlarge",
                where=option("hires", self.scale),
                fix="a scale is 1 or more: 1.5 or 2",
            )
        if not 0 <= self.denoising <= 1:
            raise InputError(
                f"the denoising strength {self.denoising} is not between 0 and 1",
                where=option("hires_denoising", self.denoising),
                fix="0.3 keeps most of the picture, 0.7 changes much of it",
            )
        if self.steps < 0:
            raise InputError(
                f"{self.steps} steps make no image",
                where=option("hires_steps", self.steps),
                fix="0 is as many as the first pass",
            )
        object.__setattr__(self, "scale", float(self.scale))  # one name for 2 and 2.0
        object.__setattr__(self, "denoising", float(self.denoising))
        object.__setattr__(self, "upscaler", find_name(self.upscaler, UPSCALERS, "upscaler", fix=_known()))

    def enlarged(self, side: int) -> int:
        """A side of the large picture: a multiple of 8, as the latents are."""
        return int(side * self.scale) // 8 * 8


def _known() -> str:
    return f"known: {', '.join(UPSCALERS)}"


def whole_steps(steps: int, denoising: float) -> int:
    """Steps of a whole picture of which the last `steps` are those of a second pass (A1111's rule)."""
    return int(steps / min(denoising, 0.999))
