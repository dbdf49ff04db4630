"""The kinds of networks that are drawn with, by the names that families give them."""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.families import DenoiserKind
from loralathe.rendering.loading.denoisers import Denoiser
from loralathe.rendering.loading.flux import Flux
from loralathe.rendering.loading.flux2 import Flux2
from loralathe.rendering.loading.sd3 import SD3
from loralathe.rendering.loading.unet import UNet
from loralathe.rendering.loading.zimage import ZImage

KINDS: Mapping[DenoiserKind, Denoiser] = {
    "unet": UNet(),
    "flux": Flux(),
    "flux2": Flux2(),
    "sd3": SD3(),
    "zimage": ZImage(),
}
