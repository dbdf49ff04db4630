"""The families of the contract's table: the real ones, and Flux, whose architecture is not there yet."""

from __future__ import annotations

from dataclasses import dataclass

from loralathe.adapters.blocks import BlockFamily
from loralathe.architectures import SD1, SD2, SDXL

__all__ = ["FLUX", "SD1", "SD2", "SDXL", "BlockFamily"]


def numbered(prefix: str, stop: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{n:02d}" for n in range(stop))


@dataclass(frozen=True)
class Blocks:
    id: str
    label: str
    short_blocks: tuple[str, ...]
    long_blocks: tuple[str, ...]
    also_accepts: tuple[tuple[str, ...], ...] = ()


FLUX = Blocks(
    "flux",
    "Flux",
    (*numbered("D", 19), *numbered("S", 38)),
    ("CLIP", "T5", "IN", *numbered("D", 19), *numbered("S", 38), "OUT"),
)
