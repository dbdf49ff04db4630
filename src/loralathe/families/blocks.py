"""Block lists: which names a list of 12, 17, 20 or 26 weights stands for."""

from __future__ import annotations

import re

from loralathe.errors import InputError
from loralathe.families.family import Family

_NAME = re.compile(r"(?P<side>IN|OUT)(?P<number>\d{1,2})|(?P<middle>MID(00)?|M00)|BASE", re.ASCII)


def block_names_for_length(family: Family, length: int) -> tuple[str, ...]:
    """The block names that `length` weights stand for on this family, in order.

    A list made for a deeper family (26 on SDXL) keeps its own names; `places_without_block`
    says which of them the family lacks. Raises InputError naming the lists that fit.
    """
    for names in accepted_lists(family):
        if len(names) == length:
            return names
    fitting = " or ".join(str(len(names)) for names in accepted_lists(family)[:2])
    raise InputError(
        f"a block list of {length} weights does not fit {family.label}",
        fix=f"{family.label} takes {fitting} weights: "
        + "; ".join(f"{len(names)} = {shorthand(names)}" for names in accepted_lists(family)[:2]),
    )


def accepted_lists(family: Family) -> tuple[tuple[str, ...], ...]:
    """Short, long, and lists of other families that can be read: the first two are the family's own."""
    return (family.short_blocks, family.long_blocks, *family.also_accepts)


def places_without_block(family: Family, length: int) -> tuple[str, ...]:
    """Names in the list of that length that this family has no block for (IN09… of a 26-list on SDXL)."""
    return tuple(name for name in block_names_for_length(family, length) if name not in family.long_blocks)


def canonical_block(name: str) -> str | None:
    """'in4', 'IN04' → 'IN04'; 'M00', 'MID00', 'mid' → 'MID'; None if it is no block name at all."""
    match = _NAME.fullmatch(name.strip().upper())
    if match is None:
        return None
    if match["side"]:
        return f"{match['side']}{int(match['number']):02d}"
    return "MID" if match["middle"] else "BASE"


def shorthand(names: tuple[str, ...]) -> str:
    """A list in few words: consecutive blocks of one side are joined, 'BASE IN00…IN11 MID OUT00…OUT11'."""
    runs: list[list[str]] = []
    for name in names:
        if runs and _follows(runs[-1][-1], name):
            runs[-1].append(name)
        else:
            runs.append([name])
    return " ".join(f"{run[0]}…{run[-1]}" if len(run) > 2 else " ".join(run) for run in runs)


def _follows(before: str, name: str) -> bool:
    same_side = before.rstrip("0123456789") == name.rstrip("0123456789")
    return (
        same_side and before[-2:].isdigit() and name[-2:].isdigit() and int(name[-2:]) == int(before[-2:]) + 1
    )
