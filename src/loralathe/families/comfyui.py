"""How ComfyUI loads and draws each family: its loader of text encoders, its empty latents, what is usual.

For pictures that a running ComfyUI makes; families that are not drawn here are among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from loralathe.families.family import Family
from loralathe.families.pictures import Usual

USUAL = Usual(cfg=4.0, sampler="Euler")


@dataclass(frozen=True, slots=True)
class ComfyParts:
    """What a graph of ComfyUI's nodes must know of a family.

    kind:     of the text encoders, as the input `type` of their loader calls it; '': in the checkpoint only
    encoders: how many files of text encoders there are beside a transformer alone
    latent:   the node that makes empty latents
    plain:    texts are read as they stand, without emphasis, as language models read them
    pixels:   of a picture for each latent, each way
    multiple: sides of pictures are multiples of it;  side: of a picture where the person names none
    usual:    for a family that is not drawn here: what people start with
    guided:   takes the distilled guidance as a number
    """

    kind: str = ""
    encoders: int = 1
    latent: str = "EmptySD3LatentImage"
    plain: bool = True
    pixels: int = 8
    multiple: int = 16
    side: int = 1024
    usual: Usual = USUAL
    guided: bool = False


_UNET = ComfyParts(latent="EmptyLatentImage", plain=False, multiple=8)
_SD3 = ComfyParts("sd3", encoders=3, usual=Usual(28, 4.5, "Euler"))
_ANIMA = ComfyParts("stable_diffusion", usual=Usual(30, 4.0, "Euler"))
_KLEIN = ComfyParts("flux2", latent="EmptyFlux2LatentImage", pixels=16)
COMFY: Mapping[str, ComfyParts] = MappingProxyType({
    "sd1": replace(_UNET, side=512),
    "sd2": replace(_UNET, side=768),
    "sdxl": _UNET,
    "sd3": _SD3,
    "sd35m": _SD3,
    "sd35l": _SD3,
    "flux": ComfyParts("flux", encoders=2, guided=True),
    "flux2": replace(_KLEIN, guided=True, usual=Usual(20, 1.0, "Euler", guidance=4.0)),
    "klein4b": _KLEIN,
    "klein9b": _KLEIN,
    "chroma": ComfyParts("chroma", usual=Usual(26, 4.0, "Euler")),
    "zimage": ComfyParts("lumina2"),
    "qwen-image": ComfyParts("qwen_image"),
    "qwen-image-2.1": ComfyParts("qwen_image"),
    "anima": _ANIMA,
    "anima-40": _ANIMA,
    "anima-52": _ANIMA,
    "krea2": ComfyParts("krea2", usual=Usual(28, 4.0, "Euler")),
})  # fmt: skip
"""By the family's id. A refiner is not among them: it finishes what another model began."""


def comfy_parts(family: Family) -> ComfyParts | None:
    """How ComfyUI draws a family; None for one whose models draw no picture from the beginning."""
    return COMFY.get(family.id)
