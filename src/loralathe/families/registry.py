"""Every family that is known, the oldest first. The files of this folder register theirs when imported."""

from __future__ import annotations

from collections.abc import Sequence

from loralathe.errors import InputError, did_you_mean
from loralathe.families.family import Family

_known: list[Family] = []
FAMILIES: Sequence[Family] = _known


def register(family: Family) -> Family:
    """Make a family known to all commands; the family itself again. ValueError if its id is taken."""
    if any(known.id == family.id for known in _known):
        raise ValueError(f"there are two families called '{family.id}'")
    _known.append(family)
    _known.sort(key=lambda known: known.released)
    return family


def family_by_id(name: str) -> Family:
    """'sd1', 'sdxl' …, in any case; InputError with close matches otherwise."""
    by_id = {family.id: family for family in FAMILIES}
    found = by_id.get(name.casefold())
    if found is None:
        raise InputError(
            f"no model family is called '{name}'", fix=did_you_mean(name, by_id) or f"use {', '.join(by_id)}"
        )
    return found


def supported_families(families: Sequence[Family] = FAMILIES, last: str = "and") -> str:
    """Their names for people: 'SD 1.5, SD 2, SDXL and Flux'."""
    *first, end = (family.label for family in families)
    return f"{', '.join(first)} {last} {end}" if first else end
