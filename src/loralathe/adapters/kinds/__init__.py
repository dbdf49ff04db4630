"""The kinds of adapter, a file each: names of tensors, what their shapes make, what they change, reference.

A file is found because it is in this folder; its `KINDS` lists the kinds that it defines. Importing them
does not import torch. A module's kind is written `lora`, `locon-tucker`, `lokr+dora`: the kind, `-tucker`
where it has a core, and the kind whose tensors stand beside it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from loralathe.adapters.kind import Kind, Shapes

NEUTRAL = (
    "alpha", "scale", "scalar", "rescale", "bm", "reshape_weight", "bias_indices", "bias_values", "bias_size",
)  # fmt: skip
"""Tensors of a module that show no kind by themselves, whatever kinds read them."""
UNKNOWN = "unknown"
CORE = "-tucker"


@cache
def adapter_kinds() -> Mapping[str, Kind]:
    """Id → kind, of all files in this folder. A kind that is read replaces one that is only recognised."""
    files = sorted(info.name for info in pkgutil.iter_modules(__path__))
    found = [kind for name in files for kind in importlib.import_module(f"{__name__}.{name}").KINDS]
    read = {kind.id: kind for kind in found if kind.delta_shape is not None}
    return MappingProxyType(read | {kind.id: kind for kind in found if kind.id not in read})


@cache
def kind_by_part() -> Mapping[str, Kind]:
    """Name of a tensor in files → the kind that it shows."""
    found: dict[str, Kind] = {}
    for kind in adapter_kinds().values():
        for part in (*kind.parts, *kind.refused):
            if part not in NEUTRAL:
                found.setdefault(part, kind)
    return MappingProxyType(found)


@cache
def part_names() -> frozenset[str]:
    """All names of tensors that a module may have."""
    return frozenset((*kind_by_part(), *NEUTRAL))


@cache
def bias_parts() -> frozenset[str]:
    return frozenset(part for kind in adapter_kinds().values() for part in kind.biases)


def changes_bias(shapes: Shapes) -> bool:
    """Whether the tensors of a weight change the bias of its layer, too."""
    shown = [kind_by_part()[part] for part in shapes if part in kind_by_part()]
    return any(kind.both is not None and kind.both(shapes) for kind in shown)


def rank_of(shapes: Shapes) -> int | None:
    """Rank of a module, whatever its kind; None for kinds without one: whole differences, full LoKr, OFT."""
    for kind in adapter_kinds().values():
        told = [shapes[part][0] for part in kind.ranked if shapes.get(part)]
        if found := kind.rank(shapes) if kind.rank else next(iter(told), None):
            return found
    return None


@cache
def layered_parts() -> tuple[str, ...]:
    """Names of tensors that have the layer's own axes: 4-D where it is a convolution."""
    return tuple(part for kind in adapter_kinds().values() for part in kind.layered)


def inputs_of(shapes: Shapes) -> int:
    """Inputs of a linear module, whatever its kind; 0 where its tensors do not tell."""
    for kind in adapter_kinds().values():
        told = [shapes[part][1] for part in kind.layered if len(shapes.get(part, ())) > 1]
        if found := kind.inputs(shapes) if kind.inputs else next(iter(told), 0):
            return found
    return 0


def name_of_kind(shapes: Shapes) -> str:
    """The kind of one module, from the parts that it has: see the head of this file."""
    shown = [kind_by_part()[part] for part in shapes if part in kind_by_part()]
    own = next((kind for kind in shown if not kind.beside), None)
    name = UNKNOWN if own is None else own.variant(shapes) if own.variant else own.id
    if any(part in kind.core for kind in shown for part in shapes):
        name += CORE
    return name + "".join(f"+{kind.id}" for kind in dict.fromkeys(kind for kind in shown if kind.beside))


def kinds_named(name: str) -> tuple[Kind | None, Kind | None]:
    """The kind that `lokr-tucker+dora` names, and the one beside it."""
    own, _, beside = name.partition("+")
    return adapter_kinds().get(own.removesuffix(CORE)), adapter_kinds().get(beside)


def kind_that_reads(name: str) -> Kind:
    """The kind that reads a module; an unknown one is read as a LoRA and gets an error for what it lacks."""
    return kinds_named(name)[0] or adapter_kinds()["lora"]


def changing_kind(name: str) -> Kind | None:
    """The kind that makes a module's change depend on the weight; None where it is a difference by itself."""
    return next((kind for kind in reversed(kinds_named(name)) if kind is not None and kind.change), None)


def is_read(name: str) -> bool:
    """Whether a module of this kind can be used, perhaps together with its weight."""
    own, _ = kinds_named(name)
    return name.startswith(UNKNOWN) or (own is not None and own.delta_shape is not None)


def label_of_kind(name: str) -> str:
    """In the words of people: `lokr-tucker` → LoKr, and `lora+dora` → DoRA."""
    own, beside = kinds_named(name)
    kind = beside or own
    return kind.label if kind else "of unknown kind" if name.startswith(UNKNOWN) else name


def read_labels() -> list[str]:
    """The kinds that are read, in the words of people."""
    return [kind.label for kind in adapter_kinds().values() if kind.delta_shape is not None]
