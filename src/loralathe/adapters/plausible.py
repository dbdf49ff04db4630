"""Which of the families that use an adapter's names it can be for, by its layers' shapes and its depth.

Flux.1 and Flux.2 share names and may share widths; a layer has other rows for each input. Sisters of one
family differ in the number of blocks alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.adapters.kind import ModuleHeader
from loralathe.adapters.kinds import kind_that_reads, name_of_kind
from loralathe.errors import InputError
from loralathe.families import Family, TensorLike


def plausible_families(
    families: tuple[Family, ...],
    names: Mapping[str, str],
    parts: Mapping[str, Mapping[str, str]],
    tensors: Mapping[str, TensorLike],
) -> tuple[Family, ...]:
    """Those of `families` that neither shapes nor depth speak against; all, where they speak against all.

    names: raw name → canonical name, the same in each;  parts: raw name → part → key of its tensor
    """
    ends = {end for family in families for end in family.evidence.ratios}
    shapes = {
        name: found
        for raw, name in names.items()
        if any(name.endswith(end) for end in ends)
        and (found := _layer_shape(parts[raw], tensors)) is not None
    }
    left = [family for family in families if _has_ratios(family, shapes)]
    paths = [name.partition(".")[2] for name in names.values() if name.startswith("unet.")]
    deep = [family for family in left or families if family.denoiser.holds(paths)]
    return tuple(deep or left or families)


def _has_ratios(family: Family, shapes: Mapping[str, tuple[int, int]]) -> bool:
    return all(
        rows * inputs == columns * outputs
        for end, (outputs, inputs) in family.evidence.ratios.items()
        for name, (rows, columns) in shapes.items()
        if name.endswith(end)
    )


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
