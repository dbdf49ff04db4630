"""Which families pictures can be made with."""

from __future__ import annotations

from loralathe.errors import InputError, option
from loralathe.families import Family

RENDERED = ("sd1", "sd2", "sdxl")


def require_rendered(family: Family, where: str) -> None:
    """InputError for a family whose files are worked on but not rendered."""
    if family.id not in RENDERED:
        raise cannot_render(family.label, where)


def cannot_render(label: str, where: str) -> InputError:
    return InputError(
        f"{label} models cannot be rendered here; SD 1.5, SD 2 and SDXL can",
        where=where,
        fix=f"merge and look into the weights here (blocks with {option('weights', True)} renders nothing), "
        "and make the pictures with the program that you use the model in",
    )
