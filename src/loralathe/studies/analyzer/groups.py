"""Groups of blocks, and how a coarse search cuts them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks that change together; a single block most of the time."""

    name: str
    blocks: tuple[str, ...]


def merged_group(groups: Sequence[Group]) -> Group:
    """One group of all blocks: `IN04–IN08`."""
    blocks = tuple(block for group in groups for block in group.blocks)
    name = groups[0].name if len(groups) == 1 else f"{groups[0].name}–{groups[-1].name}"
    return Group(name, blocks)


def first_cut(groups: Sequence[Group]) -> list[tuple[Group, ...]]:
    """Neighbours of the same stage together: text encoders, IN, MID, OUT; D and S on Flux."""
    return [tuple(same) for _, same in groupby(groups, key=lambda group: _stage(group.name))]


def _stage(name: str) -> str:
    return "BASE" if name in ("BASE", "TE1", "TE2", "CLIP", "T5") else re.sub(r"\d.*", "", name)


def halves(groups: tuple[Group, ...]) -> list[tuple[Group, ...]]:
    middle = (len(groups) + 1) // 2
    return [groups[:middle], groups[middle:]]
