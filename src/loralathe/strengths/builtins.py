"""Built-in presets, defined by block names and not by lists, so that they mean the same on every list length.

LoRA Block Weight stores them as 17 places of SD 1 and fills the rest with zeros: its `ALL` switches off
OUT00–OUT02 of SDXL. Here every block of the family has a value (SEMANTICS §2).
"""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.strengths.blocks import BlockFamily

# Ranges are inclusive and in the order of the family's long list. BASE is 1 in all of them.
_UNET_STAGES: Mapping[str, Mapping[str, list[tuple[str, str]]]] = {
    "sd": {
        "INS": [("IN00", "IN04")],
        "IND": [("IN05", "IN11")],
        "INALL": [("IN00", "IN11")],
        "MIDD": [("IN05", "OUT06")],
        "OUTD": [("OUT00", "OUT05")],
        "OUTS": [("OUT07", "OUT11")],
        "OUTALL": [("OUT00", "OUT11")],
    },
    "sdxl": {
        "INS": [("IN00", "IN05")],
        "IND": [("IN06", "IN08")],
        "INALL": [("IN00", "IN08")],
        "MIDD": [("IN07", "OUT02")],
        "OUTD": [("OUT00", "OUT02")],
        "OUTS": [("OUT03", "OUT08")],
        "OUTALL": [("OUT00", "OUT08")],
    },
}
_UNIFORM: Mapping[str, float] = {"ALL": 1.0, "NONE": 0.0, "ALL0.5": 0.5}


def builtin_names(family: BlockFamily) -> tuple[str, ...]:
    return (*_UNIFORM, *_stages(family))


def is_foreign_stage(name: str, family: BlockFamily) -> bool:
    """Whether other families have such a preset: INS, MIDD … on a transformer."""
    return not _stages(family) and any(name in stages for stages in _UNET_STAGES.values())


def builtin_weights(name: str, family: BlockFamily) -> dict[str, float] | None:
    """A value for every block of the family's long list, or None when there is no such preset."""
    if name in _UNIFORM:
        return dict.fromkeys(family.long_blocks, _UNIFORM[name])
    ranges = _stages(family).get(name)
    if ranges is None:
        return None
    on = {"BASE"}.union(*(blocks_between(*ends, family) for ends in ranges))
    return {block: float(block in on) for block in family.long_blocks}


def blocks_between(first: str, last: str, family: BlockFamily) -> tuple[str, ...]:
    """Blocks from one to the other, both included, in the order of the long list; either may come first."""
    order = family.long_blocks
    low, high = sorted((order.index(first), order.index(last)))
    return order[low : high + 1]


def _stages(family: BlockFamily) -> Mapping[str, list[tuple[str, str]]]:
    if family.id in ("sd1", "sd2"):
        return _UNET_STAGES["sd"]
    return _UNET_STAGES.get(family.id, {})
