"""Built-in presets, defined by block names and not by lists, so that they mean the same on every list length.

LoRA Block Weight stores them as 17 places of SD 1 and fills the rest with zeros: its `ALL` switches off
OUT00–OUT02 of SDXL. Here every block of the family has a value (SEMANTICS §2).
"""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.families import FAMILIES
from loralathe.strengths.blocks import BlockFamily

_UNIFORM: Mapping[str, float] = {"ALL": 1.0, "NONE": 0.0, "ALL0.5": 0.5}


def builtin_names(family: BlockFamily) -> tuple[str, ...]:
    return (*_UNIFORM, *family.presets)


def is_foreign_stage(name: str, family: BlockFamily) -> bool:
    """Whether other families have such a preset: INS, MIDD … on a transformer."""
    return name not in family.presets and any(name in other.presets for other in FAMILIES)


def builtin_weights(name: str, family: BlockFamily) -> dict[str, float] | None:
    """A value for every block of the family's long list, or None when there is no such preset."""
    if name in _UNIFORM:
        return dict.fromkeys(family.long_blocks, _UNIFORM[name])
    ranges = family.presets.get(name)
    if ranges is None:
        return None
    on = {"BASE"}.union(*(blocks_between(*ends, family) for ends in ranges))
    return {block: float(block in on) for block in family.long_blocks}


def blocks_between(first: str, last: str, family: BlockFamily) -> tuple[str, ...]:
    """Blocks from one to the other, both included, in the order of the long list; either may come first."""
    order = family.long_blocks
    low, high = sorted((order.index(first), order.index(last)))
    return order[low : high + 1]
