"""The list of nodes that ComfyUI asks for."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import ComfyExtension

from .door import open_door
from .files import LatheAddDifference, LatheCombine, LatheExtract, LatheMerge, LatheRecipe, LatheSave
from .language import listen
from .looking import LatheCheck, LatheInspect
from .loras import LatheApply, LatheLora, sliders
from .studies import LatheBlockAnalyzer, LatheBlockReport, LatheGridReport, LathePicture, LatheStrengthGrid

SLIDERS = {
    "sd1": "LatheBlocksSD1", "sdxl": "LatheBlocksSDXL", "anima": "LatheBlocksAnima",
    "zimage": "LatheBlocksZImage", "klein4b": "LatheBlocksKlein4B", "klein9b": "LatheBlocksKlein9B",
    "flux": "LatheBlocksFlux",
}  # fmt: skip
"""Families with a slider for each block; block lists of all others are written."""
NODES: list[type[Any]] = [
    LatheLora, LatheApply, *(sliders(family, node) for family, node in SLIDERS.items()),
    LatheMerge, LatheSave, LatheExtract, LatheAddDifference, LatheCombine, LatheRecipe,
    LatheInspect, LatheCheck,
    LatheBlockAnalyzer, LatheStrengthGrid, LathePicture, LatheBlockReport, LatheGridReport,
]  # fmt: skip


class LatheExtension(ComfyExtension):
    """All our nodes."""

    async def get_node_list(self) -> list[type[Any]]:
        return NODES


async def comfy_entrypoint() -> LatheExtension:
    """What ComfyUI calls when it starts, before its server does."""
    open_door()
    listen()
    return LatheExtension()
