"""Every family that can be worked on. A new one is one new file and one line here."""

from __future__ import annotations

from loralathe.errors import InputError, did_you_mean
from loralathe.families.family import Family
from loralathe.families.flux import FLUX
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sdxl import SDXL

FAMILIES: tuple[Family, ...] = (SD1, SD2, SDXL, FLUX)


def family_by_id(name: str) -> Family:
    """'sd1', 'sd2', 'sdxl' or 'flux', in any case; InputError with close matches otherwise."""
    by_id = {family.id: family for family in FAMILIES}
    found = by_id.get(name.casefold())
    if found is None:
        raise InputError(
            f"no model family is called '{name}'", fix=did_you_mean(name, by_id) or f"use {', '.join(by_id)}"
        )
    return found
