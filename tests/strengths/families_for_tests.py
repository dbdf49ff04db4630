"""The families of the contract's table."""

from __future__ import annotations

from loralathe.families import (
    FLUX,
    SD1,
    SD2,
    SDXL,
)
from loralathe.strengths.blocks import BlockFamily

__all__ = ["FLUX", "SD1", "SD2", "SDXL", "BlockFamily"]
