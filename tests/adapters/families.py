"""The families of the contract's table."""

from __future__ import annotations

from loralathe.adapters.blocks import BlockFamily
from loralathe.architectures import FLUX, SD1, SD2, SDXL

__all__ = ["FLUX", "SD1", "SD2", "SDXL", "BlockFamily"]
