"""What a search over a LoRA usually changes: its strength, its text encoders, the parts of its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loralathe.api.arguments import Folders, PathLike
from loralathe.api.search import Search

if TYPE_CHECKING:
    from loralathe.families import Family

__all__ = ["Sweep", "usual_sweeps"]

STRENGTHS = "1.2..0.4 (-0.1)"
TEXT = "0.9..0 (-0.3)"
PARTS = "1, 0.5, 0"
"""The search begins at the first value of each."""


@dataclass(frozen=True)
class Sweep:
    """An axis of a search.

    part: the strength as a whole, that of the text encoders alone, or the weight of some blocks.
    blocks: the first and the last one of these.
    """

    part: Literal["strength", "te", "blocks"]
    name: str
    values: str
    blocks: str = ""

    def __str__(self) -> str:
        return f"{self.name} = {self.values}"


def usual_sweeps(
    checkpoint: PathLike,
    lora: PathLike,
    *,
    parts: int = 3,
    lora_dir: Folders = (),
    checkpoint_dir: Folders = (),
) -> tuple[Sweep, ...]:
    """The axes that `tune` is usually given for this LoRA; `sweep=[str(one) for one in …]` takes them.

    parts: into how many the blocks of the U-Net or transformer are cut.
    Raises InputError for files that are no checkpoint and no LoRA, or of two families.
    """
    from loralathe.rendering.families import family_of

    search = Search(lora_dir, checkpoint_dir)
    family = family_of(search.checkpoint(checkpoint, "checkpoint"))
    return sweeps_of(search.lora(lora, "lora"), family, parts)


def sweeps_of(lora: Path, family: Family, parts: int) -> tuple[Sweep, ...]:
    """The strength, the text encoders where the LoRA changes them, and each part of the blocks."""
    from loralathe.families import is_encoder_block

    found = [Sweep("strength", f"{lora.stem} strength", STRENGTHS)]
    if any(is_encoder_block(block) for block in touched_blocks(lora, family)):
        found.append(Sweep("te", f"{lora.stem} te", TEXT))
    for part in parts_of(lora, family, parts):
        found.append(Sweep("blocks", f"{lora.stem} {span(part)}", PARTS, span(part)))
    return tuple(found)


def touched_blocks(lora: Path, family: Family) -> list[str]:
    """The blocks of a LoRA in the model's order, text encoders first."""
    from loralathe.adapters import open_adapter

    with open_adapter(lora, family) as adapter:
        blocks = {family.block_of_module(name) for name in adapter.modules}
    return [block for block in family.long_blocks if block in blocks]


def parts_of(lora: Path, family: Family, count: int) -> list[list[str]]:
    """The LoRA's blocks of U-Net or transformer cut into `count` parts: IN, MID and OUT, or other sections of
    the network, if there are so many; else parts of about as many blocks each.
    """
    from loralathe.families import is_encoder_block

    blocks = [block for block in touched_blocks(lora, family) if not is_encoder_block(block)]
    sections = [list(some) for _, some in groupby(blocks, key=lambda block: block.rstrip("0123456789"))]
    if len(sections) == count:
        return sections
    count = min(count, len(blocks))
    cuts = [round(number * len(blocks) / count) for number in range(count + 1)] if count else [0]
    return [blocks[low:high] for low, high in pairwise(cuts)]


def span(part: Sequence[str]) -> str:
    """`IN01-IN08`, or the one block."""
    return part[0] if len(part) == 1 else f"{part[0]}-{part[-1]}"
