"""An adapter file: opened, recognised, every module named and checked. Factors stay on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType, TracebackType

from loralathe.adapters.difference import BIASES
from loralathe.adapters.fused import fused_module
from loralathe.adapters.kinds import refuse_unusable
from loralathe.adapters.magnitude import NAMES as MAGNITUDES
from loralathe.adapters.modules import SPARSE_BIAS, AdapterModule, read_module
from loralathe.adapters.origin import own_family
from loralathe.adapters.peft import read_alphas
from loralathe.errors import InputError, LatheError
from loralathe.families import (
    BIAS,
    Family,
    address_of_raw,
    detect_adapter,
    group_by_module,
    kind_of_module,
    split_adapter_key,
)
from loralathe.tensorfiles import TensorFile, open_tensorfile, read_header


@dataclass(frozen=True)
class Adapter:
    """An adapter file. Close it, or use it in a `with` block.

    family:    the one that names were looked up in; made_for: the family the file itself is for
    modules:   canonical name → module, in the order of the file
    unmatched: raw names of modules that the family does not have, and keys of tensors that belong to
               no module; an error for whoever uses the adapter, unless the person allows it
    """

    file: TensorFile
    family: Family
    made_for: Family
    modules: Mapping[str, AdapterModule] = field(hash=False)
    unmatched: tuple[str, ...]
    metadata: Mapping[str, str] = field(hash=False)

    @property
    def is_dora(self) -> bool:
        """Whether it is no difference by itself: see `AdapterModule.magnitudes`."""
        return any(module.magnitudes is not None for module in self.modules.values())

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Adapter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_adapter(
    path: str | os.PathLike[str], family: Family | None = None, *, dora: bool = False
) -> Adapter:
    """Open an adapter of kohya, LyCORIS, diffusers or PEFT; only the header and the alphas are read.

    `family` is the base model's, when there is one; without it the file's own is recognised. `dora`:
    the caller knows what to do with magnitudes. Raises InputError for checkpoints, kinds and layouts that are
    not read, and modules that make no sense.
    """
    file = open_tensorfile(path)
    try:
        return _parse(file, family, dora)
    except BaseException:
        file.close()
        raise


def shows_dora(path: str | os.PathLike[str]) -> bool:
    """Whether a file has a DoRA's magnitudes; False for what cannot be read, which others tell."""
    try:
        keys = read_header(path).tensors
    except (LatheError, OSError):
        return False
    return any((split := split_adapter_key(key)) is not None and split[1] in MAGNITUDES for key in keys)


def _parse(file: TensorFile, wanted: Family | None, dora: bool) -> Adapter:
    detected = detect_adapter(file.header, str(file.path))
    refuse_unusable(detected, str(file.path), dora=dora)
    made_for = own_family(file.header, detected)
    family = wanted or made_for
    grouped = group_by_module(file.header.tensors.keys())
    alphas = read_alphas(file, grouped.parts)
    held: dict[str, _Held] = {}
    unmatched: list[str] = []
    for raw_name, parts in grouped.parts.items():
        place = address_of_raw(family, raw_name)
        unmatched += [key for part, key in parts.items() if part in SPARSE_BIAS]
        if place is None:
            unmatched.append(raw_name)
            continue
        for own, own_parts in _weight_and_bias(place.module, parts):
            found = held.setdefault(own, _Held(place.ratios, {}))
            if found.has(place.slot):
                raise _named_twice(file, found.raw_name, raw_name)
            module = read_module(
                file,
                own_parts,
                name=own,
                raw_name=raw_name,
                kind=kind_of_module(own_parts, file.header.tensors),
                block=family.block_of_module(own),
                kernel=family.kernel_of_module(place.module),
                alphas=alphas,
            )
            found.modules[place.slot] = replace(module, swapped=place.swapped)
    modules = {name: found.joined(file, name) for name, found in held.items()}
    return Adapter(
        file,
        family,
        made_for,
        MappingProxyType(modules),
        (*unmatched, *grouped.unrecognized_keys),
        file.header.metadata,
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """What a file has of one module: all of it under None, or some of its row slices.

    ratios: rows of each slice, see `LayerAddress`
    """

    ratios: tuple[int, ...]
    modules: dict[int | None, AdapterModule]

    @property
    def raw_name(self) -> str:
        return next(iter(self.modules.values())).raw_name

    def has(self, slot: int | None) -> bool:
        """Whether the file says twice what is in that slot."""
        return slot in self.modules or None in self.modules or (slot is None and bool(self.modules))

    def joined(self, file: TensorFile, name: str) -> AdapterModule:
        parts = {slot: module for slot, module in self.modules.items() if slot is not None}
        return fused_module(file, name, parts, self.ratios) if parts else self.modules[None]


def _weight_and_bias(name: str, parts: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The modules that one name of a file stands for, each with its parts."""
    weight = {part: key for part, key in parts.items() if part not in BIASES}
    bias = {part: key for part, key in parts.items() if part in BIASES}
    if weight:
        yield name, weight
    if bias:
        yield f"{name}{BIAS}", bias


def _named_twice(file: TensorFile, first: str, second: str) -> InputError:
    return InputError(
        "two modules of the file are the same layer of the model",
        where=f"{file.path}: '{first}' and '{second}'",
        fix="the file mixes two spellings of module names; save it again with the program that made it",
    )
