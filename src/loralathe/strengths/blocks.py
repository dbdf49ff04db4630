"""Names of blocks: what a person may write and which block of a family it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from loralathe.errors import InputError, did_you_mean
from loralathe.families import shorthand

TEXT_ENCODER_NAMES = ("TE1", "TE2")
"""Accepted beside the blocks of every family; they name one text encoder and win over BASE."""

BASE = "BASE"
"""All text encoders, on every family."""

SPELLINGS_OF_MID = ("M00", "MID00")


class BlockFamily(Protocol):
    """The part of a family that block weights need."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def short_blocks(self) -> tuple[str, ...]: ...
    @property
    def long_blocks(self) -> tuple[str, ...]: ...
    @property
    def also_accepts(self) -> tuple[tuple[str, ...], ...]: ...
    @property
    def presets(self) -> Mapping[str, tuple[tuple[str, str], ...]]: ...
    @property
    def encoder_blocks(self) -> Mapping[str, str]: ...


def canonical_block(name: str, family: BlockFamily, *, where: str) -> str:
    """`m00` → `MID`, `in04` → `IN04`. Raises InputError with close names for unknown blocks."""
    folded = name.strip().upper()
    if folded in SPELLINGS_OF_MID and "MID" in family.long_blocks:
        return "MID"
    if folded in family.long_blocks or folded in known_text_encoders(family):
        return folded
    if (block := family.encoder_blocks.get(folded.lower())) is not None and block != BASE:
        return block
    fix = did_you_mean(folded, (*family.long_blocks, *known_text_encoders(family)))
    raise InputError(
        f"'{name.strip()}' is not a block of {family.label}",
        where=where,
        fix=fix or "blocks: " + shorthand(family.long_blocks),
    )


def known_text_encoders(family: BlockFamily) -> tuple[str, ...]:
    """TE1 and TE2 where text encoders share the block BASE; BASE where each has a block (CLIP, T5)."""
    return TEXT_ENCODER_NAMES if BASE in family.long_blocks else (BASE,)


def component_of(module_name: str) -> str:
    """`te1.text_model.…` → `te1`; every canonical module name starts with its component."""
    return module_name.partition(".")[0]


def is_text_encoder(module_name: str) -> bool:
    return component_of(module_name).startswith("te")


def block_names_of(module_name: str, block: str | None) -> tuple[str, ...]:
    """Names under which a module can be addressed, the most specific first: `("TE1", "BASE")`."""
    component = component_of(module_name)
    if is_text_encoder(module_name):
        return (component.upper() if block in (None, BASE) else block, BASE)
    return () if block is None else (block,)
