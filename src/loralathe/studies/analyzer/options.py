"""The options of an analysis, in LoRA Block Weight's terms, and the groups of blocks that they select."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from loralathe.adapters import open_adapter
from loralathe.errors import InputError, about, counted, did_you_mean, spelling_hint
from loralathe.families import BASE, ENCODER_NAMES, Family, is_encoder_block
from loralathe.likeness.card import Card
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import find_list, match_name, parse_floats, select_blocks, split_items
from loralathe.studies.context import Context
from loralathe.studies.drawing.grid import GridLook
from loralathe.studies.metrics import Background
from loralathe.studies.plan import Identify, file_identity

Lists: TypeAlias = Mapping[str, str]
DEFAULT_CONTEXT = Context()
DEFAULT_LOOK = GridLook()


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks that change together; a single block most of the time."""

    name: str
    blocks: tuple[str, ...]


@dataclass(frozen=True)
class BlocksOptions:
    """Everything about one analysis.

    request: the picture to study; its prompt may carry `<lora:…:lbw=XYZ>`.
    adapter: which adapter, by name; empty for the only one, or the one marked XYZ.
    range: `examined,others`: the weight of the block under study, and of all others (the source picture).
    blocks: `12ALL` … `26ALL`, the name of one of `lists`, or entries: `BASE, IN04, IN05-IN08, NOT MID`;
        empty for every block of the family.
    split_encoders: BASE becomes these blocks of their own, e.g. ("TE1", "TE2").
    threshold: a channel value counts when it changes by more than this, 0 to 255.
    seeds: how many; the request's seed and those after it.
    coarse: groups first, and only the groups that matter block by block; `coarse_floor` is the part of the
        strongest group's effect below which a group is left whole.
    swap: blocks as columns ("change X-Y").
    force: take the folder of another study.
    card: who is meant; each block then has what it does to the likeness.
    """

    request: ImageRequest
    folder: Path
    adapter: str = ""
    range: str = "0.5,1"
    blocks: str = ""
    lists: Lists = field(default_factory=dict)
    split_encoders: tuple[str, ...] = ()
    threshold: int = 20
    background: Background = "black"
    swap: bool = False
    seeds: int = 1
    coarse: bool = False
    coarse_floor: float = 0.1
    context: Context = DEFAULT_CONTEXT
    look: GridLook = DEFAULT_LOOK
    title: str = ""
    embed: bool = False
    force: bool = False
    card: Card | None = None
    identify: Identify = file_identity


def read_range(text: str) -> tuple[float, float]:
    """(weight of the examined block, weight of all others). Raises InputError unless there are two."""
    with about("range"):
        return _two_weights(text)


def _two_weights(text: str) -> tuple[float, float]:
    meaning = "first the weight of the examined block, then of all others: 0.5,1"
    try:
        values = parse_floats(text)
    except InputError as error:  # the advice of this error is about axes, not ranges
        raise InputError(error.what, where=error.where, fix=spelling_hint(text) or meaning) from None
    if len(values) != 2:
        what = f"the range has {counted(len(values), 'value')}; it takes two"
        raise InputError(what, where=f"'{text}'", fix=meaning)
    if values[0] == values[1]:
        raise InputError("both ends of the range are the same: nothing would change", where=f"'{text}'")
    return values[0], values[1]


def read_groups(options: BlocksOptions) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """The groups to examine in order, and blocks of a fixed list that this family does not have."""
    with about("blocks"):
        return _groups(options)


def _groups(options: BlocksOptions) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    family = options.context.family
    own = match_name(options.blocks, options.lists)
    text = options.blocks.strip() if own is None else options.lists[own]
    wanted = find_list(text, family) if text else family.long_blocks
    if wanted is None:
        return _split(_entries(text, family), options.split_encoders), ()
    names = tuple(name for name in wanted if name in family.long_blocks)
    lacking = tuple(name for name in wanted if name not in family.long_blocks)
    return _split(tuple(Group(name, (name,)) for name in names), options.split_encoders), lacking


def _entries(text: str, family: Family) -> tuple[Group, ...]:
    groups = []
    for item in split_items(text):
        if not item.text:
            continue
        blocks = select_blocks(item.text, family)
        if not blocks:
            raise InputError(f"'{item.text}' selects no block", where=text)
        groups.append(Group(blocks[0] if len(blocks) == 1 else item.text, blocks))
    names = [group.name for group in groups]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"'{name}' is listed twice", where=text)
    return tuple(groups)


def _split(groups: tuple[Group, ...], encoders: tuple[str, ...]) -> tuple[Group, ...]:
    """BASE alone becomes one group for each text encoder."""
    for name in encoders:
        if name not in ENCODER_NAMES:
            fix = did_you_mean(name, ENCODER_NAMES) or "TE1 and TE2"
            raise InputError(f"the text encoder '{name}' does not exist", fix=fix)
    result: list[Group] = []
    for group in groups:
        if encoders and group.blocks == ("BASE",):
            result += [Group(name, (name,)) for name in encoders]
        else:
            result.append(group)
    return tuple(result)


def merged_group(groups: Sequence[Group]) -> Group:
    """One group of all blocks: `IN04–IN08`."""
    blocks = tuple(block for group in groups for block in group.blocks)
    name = groups[0].name if len(groups) == 1 else f"{groups[0].name}–{groups[-1].name}"
    return Group(name, blocks)


def first_cut(groups: Sequence[Group]) -> list[tuple[Group, ...]]:
    """Neighbours of the same stage together: text encoders, IN, MID, OUT; D and S on Flux."""
    return [tuple(same) for _, same in groupby(groups, key=lambda group: _stage(group.name))]


def _stage(name: str) -> str:
    return BASE if is_encoder_block(name) else re.sub(r"\d.*", "", name)


def halves(groups: tuple[Group, ...]) -> list[tuple[Group, ...]]:
    middle = (len(groups) + 1) // 2
    return [groups[:middle], groups[middle:]]


def fitting_list(adapters: Iterable[Path], family: Family) -> str:
    """`17ALL` (SDXL `12ALL`) where the adapters keep to the short list's blocks, else `26ALL` (`20ALL`).

    Linear layers are in the short list's blocks only; a LoCon reaches the others too.
    """
    touched: set[str | None] = set()
    for path in adapters:
        with open_adapter(path, family) as adapter:
            touched |= {family.block_of_module(name) for name in adapter.modules}
    fits = touched <= {*family.short_blocks, None}
    return f"{len(family.short_blocks if fits else family.long_blocks)}ALL"
