"""Names of blocks: what a person may write and which block of a family it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ..errors import InputError, did_you_mean

TEXT_ENCODER_NAMES = ("TE1", "TE2")
"""Accepted beside the blocks of every family; they name one text encoder and win over BASE."""

SPELLINGS_OF_MID = ("M00", "MID00")

WIDE_BLOCKS = (
    "BASE",
    *(f"IN{n:02d}" for n in range(12)),
    "MID",
    *(f"OUT{n:02d}" for n in range(12)),
)
"""The 26 places of Stable Diffusion 1; smaller U-Nets use the places they have."""


class BlockFamily(Protocol):
    """The part of an architecture that block weights need."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def short_blocks(self) -> tuple[str, ...]: ...
    @property
    def long_blocks(self) -> tuple[str, ...]: ...


def canonical_block(name: str, family: BlockFamily, *, where: str) -> str:
    """`m00` → `MID`, `in04` → `IN04`. Raises InputError with close names for unknown blocks."""
    folded = name.strip().upper()
    if folded in SPELLINGS_OF_MID and "MID" in family.long_blocks:
        return "MID"
    if folded in family.long_blocks or folded in known_text_encoders(family):
        return folded
    fix = did_you_mean(folded, (*family.long_blocks, *known_text_encoders(family)))
    raise InputError(
        f"'{name.strip()}' is not a block of {family.label}",
        where=where,
        fix=fix or "blocks: " + " ".join(abridged(family.long_blocks)),
    )


def known_text_encoders(family: BlockFamily) -> tuple[str, ...]:
    """TE1 and TE2 where text encoders share the block BASE; Flux has CLIP and T5 of its own."""
    return TEXT_ENCODER_NAMES if "BASE" in family.long_blocks else ()


def abridged(names: Iterable[str]) -> list[str]:
    """Runs of numbered blocks shortened for people: `IN00 IN01 IN02` → `IN00…IN02`."""
    runs: list[list[str]] = []
    for name in names:
        if runs and _follows(runs[-1][-1], name):
            runs[-1].append(name)
        else:
            runs.append([name])
    return [piece for run in runs for piece in (run if len(run) < 3 else [f"{run[0]}…{run[-1]}"])]


def _follows(before: str, after: str) -> bool:
    letters, digits = before.rstrip("0123456789"), before[len(before.rstrip("0123456789")) :]
    return bool(digits) and after == f"{letters}{int(digits) + 1:02d}"


def component_of(module_name: str) -> str:
    """`te1.text_model.…` → `te1`; every canonical module name starts with its component."""
    return module_name.partition(".")[0]


def is_text_encoder(module_name: str) -> bool:
    return component_of(module_name).startswith("te")


def block_names_of(module_name: str, block: str | None) -> tuple[str, ...]:
    """Names under which a module can be addressed, the most specific first: `("TE1", "BASE")`."""
    component = component_of(module_name)
    if is_text_encoder(module_name):
        return (component.upper(), block or "BASE")
    return () if block is None else (block,)
