"""Which family an adapter was made for, how it spells names, and what kinds of module it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loralathe.adapters.dialects import address_of_raw, dialect_of, home_of
from loralathe.adapters.foreign import foreign_kind, refusal
from loralathe.adapters.keys import RawModules, group_by_module, kind_of_module, shows_adapter
from loralathe.adapters.kinds import changing_kind, is_read, label_of_kind, read_labels
from loralathe.adapters.notes import foreign_beside
from loralathe.adapters.plausible import plausible_families
from loralathe.adapters.unfamiliar import check_one_family, no_family
from loralathe.errors import InputError, close_matches, counted
from loralathe.families import (
    FAMILIES,
    Family,
    HeaderLike,
    LayerAddress,
    TensorLike,
    family_of_words,
    name_given_as_lora,
    name_unread,
)
from loralathe.tensorfiles import read_header

MOST_MODULES = 10_000
"""Of an adapter: four times the layers of the largest model, each of which may have a bias of its own."""


@dataclass(frozen=True, slots=True)
class AdapterDetected:
    """What an adapter's header tells.

    families:      those whose names it uses, equally well, and whose shapes and depth it may have; SD 1.5
                   and SD 2 share all names, the shapes of a base tell them apart
    dialect:       id of one of `DIALECTS`, or 'dotted'
    names:         raw module name → canonical name in the first of `families`
    unmatched:     raw names of modules that family does not have
    kinds:         raw module name → kind, see `kind_of_module`
    unrecognized_keys: keys that are no part of any adapter module
    """

    families: tuple[Family, ...]
    dialect: str
    names: Mapping[str, str]
    unmatched: tuple[str, ...]
    kinds: Mapping[str, str]
    unrecognized_keys: tuple[str, ...]


def is_adapter(path: Path, tensors: Mapping[str, TensorLike]) -> bool:
    """By its tensors. Raises InputError for a kind of PEFT's that only the config beside the file tells."""
    if shows_adapter(tensors):
        return True
    if foreign := foreign_beside(path):
        raise refusal(foreign, str(path))
    return False


def detect_adapter(
    header: HeaderLike, name: str | None = None, expected: Family | None = None
) -> AdapterDetected:
    """Recognise an adapter by its names; `name` is its path: what errors call it, and see `home_of`.

    expected: asked first; where it has all modules, no other family is tried.
    Raises InputError for a checkpoint, a file without adapter tensors, PEFT's kinds that are not read, and a
    LoRA of a family that is not supported or not known, or of two (then a few of its names are shown).
    """
    if not shows_adapter(header.tensors):
        raise no_adapter(header.tensors, name)
    if foreign := foreign_kind(header.tensors):
        raise refusal(foreign, name)
    raw = group_by_module(header.tensors.keys())
    if len(raw.parts) > MOST_MODULES:
        raise InputError(
            f"the file has {counted(len(raw.parts), 'module')}; the most that is read is {MOST_MODULES:,}",
            where=name,
            fix="no LoRA has so many; check that this is the file you meant",
        )
    home = home_of(name)
    places = {expected: _places(expected, raw, home)} if expected else {}
    if not expected or len(places[expected]) < len(raw.parts):
        places = {family: _places(family, raw, home) for family in FAMILIES}
    most = max(map(len, places.values()))
    likeliest = _likeliest([family for family, found in places.items() if len(found) == most], raw)
    fitting = plausible_families({family: places[family] for family in likeliest}, raw.parts, header.tensors)
    names = {module: place.module for module, place in places[fitting[0]].items()}
    unmatched = tuple(module for module in raw.parts if module not in names)
    other = family_of_words(unmatched) if unmatched else None
    if other or not names:
        raise no_family(list(raw.parts), other, name)
    if unmatched:
        check_one_family(fitting[0], unmatched, places, name)
    return AdapterDetected(
        families=fitting,
        dialect=dialect_of(fitting[0], raw.parts),
        names=names,
        unmatched=unmatched,
        kinds={module: kind_of_module(parts, header.tensors) for module, parts in raw.parts.items()},
        unrecognized_keys=raw.unrecognized_keys,
    )


def _places(family: Family, raw: RawModules, home: str) -> dict[str, LayerAddress]:
    found = ((module, address_of_raw(family, module, home)) for module in raw.parts)
    return {module: place for module, place in found if place is not None}


def _likeliest(families: Sequence[Family], raw: RawModules) -> tuple[Family, ...]:
    """Those whose trainers write most of the names so; others only read them."""

    def own(family: Family) -> int:
        starts = tuple(component.kohya[0] for component in family.components if component.kohya)
        return sum(module.startswith(starts) for module in raw.parts)

    most = max(map(own, families))
    return tuple(family for family in families if own(family) == most)


def no_adapter(tensors: Mapping[str, TensorLike], name: str | None) -> InputError:
    """What a file without tensors of adapters is instead."""
    family = next((known for known in FAMILIES if known.signature.matches(tensors)), None)
    if family is not None:
        return InputError(
            f"this is a checkpoint ({family.label}), not a LoRA",
            where=name,
            fix="to use the difference of two checkpoints, write it: 'base + 0.5*(other - base)'",
        )
    if (given := name_given_as_lora(tensors)) is not None:
        return InputError(f"this is {given[0]}", where=name, fix=given[1])
    known = name_unread(tensors)
    expected = "lora_up.weight, lora_down.weight"
    return InputError(
        f"this is {known[0]}, not a LoRA" if known else "this file is not a LoRA",
        where=name,
        fix=f"a LoRA has tensors such as {expected} for each module",
    )


def is_usable(detected: AdapterDetected) -> bool:
    """Whether other commands than those that only look can use an adapter of this kind."""
    return all(map(is_read, detected.kinds.values()))


def refuse_unusable(detected: AdapterDetected, where: str, *, with_weights: bool = False) -> None:
    """Raises InputError for kinds that cannot be used; `with_weights`: those that depend on weights can."""
    names = detected.kinds.values()
    unread = Counter(label_of_kind(name) for name in names if not is_read(name))
    if unread:
        raise _unread_kinds(unread, len(names), where)
    kind = next(filter(None, map(changing_kind, names)), None)
    if kind is not None and not with_weights:
        raise InputError(
            f"the kind of this adapter is {kind.label}: what it changes depends on the model's own weights",
            where=where,
            fix="a plain LoRA of it is made by lathe convert LORA --to kohya --bake BASE; lathe merge BASE "
            f"LORA merges it; in a formula, write {kind.id}(A, hina)",
        )


def _unread_kinds(counts: Mapping[str, int], total: int, where: str) -> InputError:
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    *most, last = read_labels()
    return InputError(
        f"this adapter holds modules of a kind that is not read: {kinds} (of {total})",
        where=where,
        fix=f"{', '.join(most)} and {last} are read; merge the adapter into its base with the program "
        "that made it, then use the difference of the two checkpoints, or extract a LoRA from it",
    )


def close_files(
    name: str, files: Mapping[str, str | Path], *, adapters: bool = True, limit: int = 3
) -> list[str]:
    """The names most like `name` of adapters, or of files that are none: both may lie in one folder."""
    near = close_matches(name, files, limit=4 * limit)
    return [match for match in near if _may_be(files[match], adapters)][:limit]


def _may_be(path: str | Path, adapters: bool) -> bool:
    """Whether a file is an adapter, or is none; one that cannot be read may have been either."""
    try:
        return shows_adapter(read_header(path).tensors) == adapters
    except InputError:
        return True
