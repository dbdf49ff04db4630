"""Adapters whose names fit no family, or two: what they are nearest to, and what the two are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from loralathe.errors import InputError, few
from loralathe.families import FAMILIES, Family, LayerAddress, supported_families

ENOUGH = 2
"""Modules of another family that make a file one of two; a single one may be a name that both could have."""


def no_family(modules: Sequence[str], other: str | None, name: str | None) -> InputError:
    """For a file of which no module is known; `other`: a family that is not supported and has such names."""
    some = few(list(modules))
    where = f"{name}: {some}" if name else some
    supported = f"LoRAs for {supported_families()} are supported"
    if other:
        return InputError(f"this is a LoRA for {other}", where=where, fix=supported)
    if (near := nearest_family(modules)) is None:
        return InputError("this LoRA is for no family known here", where=where, fix=supported)
    kohya, dotted = _names_of_a_layer(near)
    return InputError(
        f"the modules of this LoRA have unknown names; the nearest known ones are those of {near.label}",
        where=where,
        fix=f"{near.label} has names such as {kohya} or {dotted}; save the LoRA again with its trainer",
    )


def nearest_family(modules: Sequence[str]) -> Family | None:
    """The family whose rows of blocks most of these names speak of, as `double_blocks`; None without any."""
    told: Counter[Family] = Counter()
    for family in sorted(FAMILIES, key=lambda one: one.seldom):
        words = {word: re.compile(rf"(?:^|[._]){word}[._]\d") for word in _rows_of_blocks(family)}
        for module in modules:
            told[family] += max(
                (len(word) for word, found in words.items() if found.search(module)), default=0
            )
    family, most = max(told.items(), key=lambda item: item[1])
    return family if most else None


def _rows_of_blocks(family: Family) -> set[str]:
    """What stands before the numbers of its blocks, in both layouts."""
    paths = [
        path for entry in family.component("unet").table.layers for path in (entry.name, entry.diffusers)
    ]
    return {found[1] for path in paths if path and (found := re.match(r"([a-z_]+blocks)\.[\d#]", path))}


def _names_of_a_layer(family: Family) -> tuple[str, str]:
    """One of its layers, as kohya and ComfyUI call it."""
    layers = family.component("unet").table.layers
    first = next(entry for entry in layers if entry.scope == "linear").name.replace("#", "0")
    return family.kohya_name(f"unet.{first}"), f"diffusion_model.{first}"


def check_one_family(
    family: Family,
    unmatched: Collection[str],
    places: Mapping[Family, Mapping[str, LayerAddress]],
    name: str | None,
) -> None:
    """Raises InputError where all modules that `family` lacks are layers of another family's network."""
    for other, found in places.items():
        theirs = [
            module for module in unmatched if module in found and found[module].module.startswith("unet.")
        ]
        if len(theirs) >= ENOUGH and len(theirs) == len(unmatched):
            own = [module for module in places[family] if module not in theirs]
            shown = f"{own[0]} ({family.label}, {len(own)}), {theirs[0]} ({other.label}, {len(theirs)})"
            raise InputError(
                f"the modules of this LoRA are of two model families, {family.label} and {other.label}",
                where=f"{name}: {shown}" if name else shown,
                fix="two LoRAs were saved into one file; get each in a file of its own",
            )
