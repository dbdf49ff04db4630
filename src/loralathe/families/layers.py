"""Layers in several spellings, by rule: in a template, `#` stands for any one number.

A model is a few dozen templates, whatever its depth: `transformer.resblocks.#.mlp.c_fc` covers
3 layers or 32. One number per template is free; the numbers that make up the family's
structure (`input_blocks.4.1`) are spelled out, so a layer that the family lacks is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Scope = Literal["linear", "conv", "outside", "vector"]
FACTORED: tuple[Scope, ...] = ("linear", "conv")
"""Scopes whose layers a LoRA holds as factors."""
Transform = Literal["none", "transpose", "conv1x1_to_linear", "halves_swapped"]
Part = tuple[int, int]

T = TypeVar("T")
Found = tuple[T, str | None]
ANY = "#"


@dataclass(frozen=True, slots=True)
class Split:
    """Names for row slices of a layer.

    paths:    of the slices in order; empty for a slice that no name stands for
    ratios:   rows of each of them, in inputs of the layer
    original: adapters use these names behind the original layout's prefix, too
    """

    paths: tuple[str, ...]
    ratios: tuple[int, ...]
    original: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a component; every name is relative to the component's key prefix.

    name:      canonical path; what an adapter's module is called after the component
    diffusers: path in the diffusers layout; None where that layout splits it, or has no place for it
    weight:    tensor in the original layout
    bias:      the same for its bias; None where it has none
    part:      (i, n): the layer is the i-th of n equal row slices of those tensors
    transform: what turns the original weight into the diffusers one; halves_swapped: of its rows
    kernel:    height and width of a convolution that adapters change, 0 for everything else
    splits:    names for its row slices (q, k, v; the MLP). Without a diffusers path, the first is the
               diffusers layout; the others are names that adapters use
    aliases:   other names of the whole layer that adapters use, in place of the diffusers path
    bare:      the tensor has no `.weight` behind its diffusers path either
    table:     of a flat tensor: rows that the diffusers layout gives it
    """

    name: str
    diffusers: str | None
    weight: str
    bias: str | None
    scope: Scope = "outside"
    part: Part | None = None
    transform: Transform = "none"
    kernel: int = 0
    splits: tuple[Split, ...] = ()
    aliases: tuple[str, ...] = ()
    bare: bool = False
    table: int = 0


def layer(
    name: str,
    diffusers: str | None = "",
    scope: Scope = "outside",
    *,
    original: str | None = None,
    transform: Transform = "none",
    kernel: int = 0,
    bias: bool = True,
    splits: tuple[Split, ...] = (),
    aliases: tuple[str, ...] = (),
) -> Layer:
    """A layer whose tensors are `original.weight` and `original.bias`; names default to `name`."""
    stem = name if original is None else original
    path = name if diffusers == "" else diffusers
    tensors = (f"{stem}.weight", f"{stem}.bias" if bias else None)
    return Layer(name, path, *tensors, scope, None, transform, kernel, splits, aliases)


def bare_layer(name: str, diffusers: str, tensor: str) -> Layer:
    """A norm of one tensor, without a bias."""
    return Layer(name, diffusers, tensor, None, "vector")


def parameter(name: str, diffusers: str, scope: Scope = "outside", *, table: int = 0) -> Layer:
    """A tensor that has no `.weight` behind its name in either layout."""
    return Layer(name, diffusers, name, None, scope, bare=True, table=table)


def split_layer(
    name: str,
    slots: tuple[str, ...],
    scope: Scope,
    ratios: tuple[int, ...] | None = None,
    *,
    bias: bool = True,
    original: bool = False,
    aliases: tuple[str, ...] = (),
) -> Layer:
    """A layer that is several in the diffusers layout, square ones where no `ratios` are given."""
    split = Split(slots, ratios or (1,) * len(slots), original)
    return layer(name, None, scope, bias=bias, splits=(split,), aliases=aliases)


@dataclass(frozen=True, slots=True)
class Spelling:
    """What a path of an adapter means: a layer, or a row slice of one.

    split, slot: one of its splits and the number in it, None for all rows
    renamed:     it is not the original path, and so the rows are in the order of diffusers
    """

    layer: Layer
    split: Split | None = None
    slot: int | None = None
    renamed: bool = False


def flat(dotted: str) -> str:
    """A path as adapter files spell it: dots become underscores."""
    return dotted.replace(".", "_")


def fill(template: str, number: str | None) -> str:
    """The template with its free number put in."""
    return template if number is None else template.replace(ANY, number)


class TemplateIndex(Generic[T]):
    """Look names up among templates, in as many dictionary probes as the name has numbers.

    `find` answers (entry, the number that stood at `#`, None for a template without one).
    """

    def __init__(self, entries: Mapping[str, T], separator: str) -> None:
        self._entries = entries
        self._separator = separator

    def find(self, name: str) -> Found[T] | None:
        exact = self._entries.get(name)
        if exact is not None:
            return None if ANY in name else (exact, None)
        tokens = name.split(self._separator)
        for position, token in enumerate(tokens):
            if not _is_number(token):
                continue
            tokens[position] = ANY
            entry = self._entries.get(self._separator.join(tokens))
            if entry is not None:
                return entry, token
            tokens[position] = token
        return None


def _is_number(token: str) -> bool:
    """Plain ASCII digits without leading zeros: `0`, `17`; never `007`, which names no layer."""
    return token.isascii() and token.isdigit() and (token == "0" or token[0] != "0")


class LayerTable:
    """All layers of one component, found by any of their names."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = tuple(layers)
        names: dict[str, Layer] = {}
        paths: dict[str, Layer] = {}
        tensors: dict[str, list[tuple[Layer, str]]] = {}
        for entry in self.layers:
            names.setdefault(entry.name, entry)
            if entry.diffusers is not None:
                paths.setdefault(entry.diffusers, entry)
            tensors.setdefault(entry.weight, []).append((entry, "weight"))
            if entry.bias is not None:
                tensors.setdefault(entry.bias, []).append((entry, "bias"))
        spellings = {name: Spelling(entry) for name, entry in names.items()}
        for entry in self.layers:
            for path, spelling in _other_spellings(entry):
                spellings.setdefault(path, spelling)  # original names win
        self.by_name = TemplateIndex(names, ".")
        self.by_diffusers = TemplateIndex(paths, ".")
        self.by_path = TemplateIndex(spellings, ".")
        self.by_flat = TemplateIndex({flat(path): found for path, found in spellings.items()}, "_")
        self.by_tensor = TemplateIndex({key: tuple(found) for key, found in tensors.items()}, ".")


def _other_spellings(entry: Layer) -> Iterator[tuple[str, Spelling]]:
    for path in (*entry.aliases, *((entry.diffusers,) if entry.diffusers else ())):
        yield path, Spelling(entry, renamed=True)
    for split in entry.splits:
        for slot, path in enumerate(split.paths):
            if path:
                yield path, Spelling(entry, split, slot)
