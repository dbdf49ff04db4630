"""The families of the contract's table."""

from __future__ import annotations

from loralathe.families import Family
from loralathe.families.flux import FLUX
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sdxl import SDXL

__all__ = ["FLUX", "SD1", "SD2", "SDXL", "Family"]
