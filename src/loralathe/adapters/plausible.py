"""Which of the families that use an adapter's names it can be for, by its layers' shapes and its depth.

Flux.1 and Flux.2 share names and may share widths; a layer has other rows for each input. Sisters of one
family differ in the number of blocks alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.adapters.kind import ModuleHeader
from loralathe.adapters.kinds import kind_that_reads, name_of_kind
from loralathe.errors import InputError
from loralathe.families import Family, LayerAddress, TensorLike


def plausible_families(
    places: Mapping[Family, Mapping[str, LayerAddress]],
    parts: Mapping[str, Mapping[str, str]],
    tensors: Mapping[str, TensorLike],
) -> tuple[Family, ...]:
    """Those families that neither shapes nor depth speak against; all, where they speak against all.

    places: family → raw name → the layer, or the rows of one;  parts: raw name → part → key of its tensor
    """
    wanted = {family: _ratios(family, found) for family, found in places.items()}
    raw_names = {raw for ratios in wanted.values() for raw in ratios}
    shapes = {raw: _layer_shape(parts[raw], tensors) for raw in raw_names} if len(places) > 1 else {}
    left = [family for family, ratios in wanted.items() if _have_ratios(ratios, shapes)]
    deep = [family for family in left or places if _is_deep_enough(family, places[family])]
    return tuple(deep or left or places)


def _ratios(family: Family, places: Mapping[str, LayerAddress]) -> dict[str, tuple[int, int]]:
    """Raw name → (rows, inputs) in any unit, where the family has something to say of it."""
    found = {}
    for raw, place in places.items():
        if place.slot is not None:
            found[raw] = (place.ratios[place.slot], 1)
            continue
        ends = (ratio for end, ratio in family.evidence.ratios.items() if place.module.endswith(end))
        if (ratio := next(ends, None)) is not None:
            found[raw] = ratio
    return found


def _have_ratios(ratios: Mapping[str, tuple[int, int]], shapes: Mapping[str, tuple[int, int] | None]) -> bool:
    known = ((ratio, shapes.get(raw)) for raw, ratio in ratios.items())
    return all(shape is None or shape[0] * ratio[1] == shape[1] * ratio[0] for ratio, shape in known)


def _is_deep_enough(family: Family, places: Mapping[str, LayerAddress]) -> bool:
    paths = (place.module.partition(".") for place in places.values())
    return family.denoiser.holds([path for component, _, path in paths if component == "unet"])


def _layer_shape(parts: Mapping[str, str], tensors: Mapping[str, TensorLike]) -> tuple[int, int] | None:
    """(rows, inputs) of a linear layer, as far as its module tells; None for parts that make no sense."""
    name = name_of_kind({part: tensors[key].shape for part, key in parts.items()})
    kind = kind_that_reads(name)
    if kind.delta_shape is None:
        return None
    named = {kind.parts[part]: tensors[key] for part, key in parts.items() if part in kind.parts}
    try:
        shape = kind.delta_shape(ModuleHeader("", "", kind.label, named, 0)).shape  # type: ignore[arg-type]
    except (InputError, KeyError, AttributeError, ZeroDivisionError):
        return None  # whoever opens it will say what is wrong
    return (shape[0], shape[1]) if len(shape) > 1 and min(shape) > 0 else None
