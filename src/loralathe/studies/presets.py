"""Block presets as text: the built-in ones of a family, and the person's own, which win."""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.families import FAMILIES, Family
from loralathe.strengths import show_number
from loralathe.strengths.builtins import builtin_names, builtin_weights


def preset_table(family: Family, own: Mapping[str, str] | None = None) -> dict[str, str]:
    """Name → text for `Context.presets`: built-in presets by block name, then the person's."""
    return {name: _builtin_text(name, family) for name in builtin_names(family)} | dict(own or {})


def _builtin_text(name: str, family: Family) -> str:
    weights = builtin_weights(name, family) or {}
    return ",".join(f"{block}={show_number(weight)}" for block, weight in weights.items())


def is_builtin(name: str, text: str) -> bool:
    """Whether a renderer knows this preset by name alone, with this meaning."""
    return any(name in builtin_names(f) and _builtin_text(name, f) == text for f in FAMILIES)


def find_preset(name: str, presets: Mapping[str, str]) -> str | None:
    """The preset's name as the table spells it; exact first, then in any case."""
    if name in presets:
        return name
    folded = name.strip().casefold()
    return next((known for known in presets if known.casefold() == folded), None)


def spelt_out(text: str | None, presets: Mapping[str, str]) -> str | None:
    """The person's own preset as its list, so that a request says all by itself; other text as it is."""
    name = find_preset(text, presets) if text else None
    if name is None:
        return text
    return name if is_builtin(name, presets[name]) else presets[name]
