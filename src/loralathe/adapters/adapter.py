"""An adapter file: opened, recognised, every module named and checked. Factors stay on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from loralathe.adapters.detect import detect_adapter, refuse_unusable
from loralathe.adapters.dialects import address_of_raw, home_of
from loralathe.adapters.keys import group_by_module, kind_of_module, split_adapter_key
from loralathe.adapters.kind import Kind
from loralathe.adapters.kinds import bias_parts, changes_bias, changing_kind, kind_by_part
from loralathe.adapters.kinds.difference import LORA_BIAS
from loralathe.adapters.module import SPARSE_BIAS, AdapterModule, fused_module, read_module
from loralathe.adapters.notes import read_notes
from loralathe.adapters.origin import own_family, told_family
from loralathe.errors import InputError, LatheError
from loralathe.families import BIAS, Family, LayerAddress
from loralathe.tensorfiles import TensorFile, TensorInfo, open_tensorfile, read_header


@dataclass(frozen=True)
class Adapter(AbstractContextManager["Adapter"]):
    """An adapter file. Close it, or use it in a `with` block.

    family:    the one that names were looked up in
    modules:   canonical name → module, in the order of the file
    unmatched: raw names of modules that the family does not have, and keys of tensors that belong to
               no module; an error for whoever uses the adapter, unless the person allows it
    embeddings: name of a word for prompts that is bundled in → its keys; they change no weights
    """

    file: TensorFile
    family: Family
    modules: Mapping[str, AdapterModule] = field(hash=False)
    unmatched: tuple[str, ...]
    metadata: Mapping[str, str] = field(hash=False)
    embeddings: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @cached_property
    def made_for(self) -> Family | None:
        """The family that the file itself is for, None where it does not tell."""
        return told_family(self.file.header, detect_adapter(self.file.header, str(self.file.path)))

    @property
    def changing_kind(self) -> Kind | None:
        """The kind of its modules whose change depends on the weight; None if all are differences."""
        kinds = (changing_kind(module.kind) for module in self.modules.values())
        return next((kind for kind in kinds if kind is not None), None)

    def close(self) -> None:
        self.file.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def open_adapter(
    path: str | os.PathLike[str], family: Family | None = None, *, with_weights: bool = False
) -> Adapter:
    """Open an adapter of any dialect (`dialects.py`); only the header and the alphas are read.

    `family` is the base model's, when there is one; without it the file's own is recognised. `with_weights`:
    the caller gives modules the weights that they change, see `load_change`. Raises InputError for
    checkpoints, kinds and layouts that are not read, and modules that make no sense.
    """
    file = open_tensorfile(path)
    try:
        return read_adapter(file, family, with_weights=with_weights)
    except BaseException:
        file.close()
        raise


def changing_kind_of_file(path: str | os.PathLike[str]) -> str | None:
    """Id of a file's kind that depends on the weights; None without, and for files that cannot be read."""
    try:
        keys = read_header(path).tensors
    except (LatheError, OSError):
        return None
    parts = {split[1] for split in map(split_adapter_key, keys) if split is not None}
    kinds = (kind_by_part().get(part) for part in parts)
    return next((kind.id for kind in kinds if kind is not None and kind.change), None)


def read_adapter(file: TensorFile, wanted: Family | None, *, with_weights: bool = False) -> Adapter:
    """The adapter of an open file; see `open_adapter`."""
    detected = detect_adapter(file.header, str(file.path), wanted)
    refuse_unusable(detected, str(file.path), with_weights=with_weights)
    family = wanted or own_family(file.header, detected)
    grouped = group_by_module(file.header.tensors.keys())
    notes = read_notes(file, grouped.parts)
    home = home_of(file.path)
    held: dict[str, _Held] = {}
    unmatched: list[str] = []
    for raw_name, parts in grouped.parts.items():
        place = address_of_raw(family, raw_name, home)
        unmatched += [key for part, key in parts.items() if part in SPARSE_BIAS]
        if place is None:
            unmatched.append(raw_name)
            continue
        weight: AdapterModule | None = None
        for own, own_parts in _weight_and_bias(place.module, parts, file.header.tensors):
            found = held.setdefault(own, _Held(place.ratios, {}))
            if found.has(place):
                raise _named_twice(file, found.raw_name, raw_name)
            module = read_module(
                file,
                own_parts,
                name=own,
                raw_name=raw_name,
                kind=kind_of_module(own_parts, file.header.tensors),
                block=family.block_of_module(own),
                kernel=family.kernel_of_module(place.module),
                notes=notes,
                bias=own != place.module,
            )
            if place.swapped and module.needs_weight:
                raise _halves_swapped(file, raw_name)
            if weight is not None and LORA_BIAS in own_parts:
                module = replace(module, alpha=weight.alpha, scale=weight.scale)
            weight = module
            found.modules[place.slot] = replace(module, swapped=place.swapped)
    modules = {name: found.joined(file, name) for name, found in held.items()}
    return Adapter(
        file,
        family,
        MappingProxyType(modules),
        (*unmatched, *grouped.unrecognized_keys),
        file.header.metadata,
        MappingProxyType(grouped.embeddings),
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

    def has(self, place: LayerAddress) -> bool:
        """Whether the file says twice what is in that slot."""
        whole = None in self.modules or (place.slot is None and bool(self.modules))
        return whole or place.slot in self.modules or place.ratios != self.ratios

    def joined(self, file: TensorFile, name: str) -> AdapterModule:
        parts = {slot: module for slot, module in self.modules.items() if slot is not None}
        return fused_module(file, name, parts, self.ratios) if parts else self.modules[None]


def _weight_and_bias(
    name: str, parts: Mapping[str, str], tensors: Mapping[str, TensorInfo]
) -> Iterator[tuple[str, dict[str, str]]]:
    """The modules that one name of a file stands for, each with its parts; the weight first.

    A LoRA's bias has the scale of its weight, which must not be missing.
    """
    weight = {part: key for part, key in parts.items() if part not in bias_parts()}
    bias = {part: key for part, key in parts.items() if part in bias_parts()}
    if weight or LORA_BIAS in bias:
        yield name, weight
    if not bias and changes_bias({part: tensors[key].shape for part, key in weight.items()}):
        bias = weight
    if bias:
        yield f"{name}{BIAS}", bias


def _named_twice(file: TensorFile, first: str, second: str) -> InputError:
    return InputError(
        "two modules of the file are the same layer of the model",
        where=f"{file.path}: '{first}' and '{second}'",
        fix="the file mixes two spellings of module names; save it again with the program that made it",
    )


def _halves_swapped(file: TensorFile, raw_name: str) -> InputError:
    return InputError(
        "the model has the halves of this layer the other way round; only a LoRA's factors are read there",
        where=f"{file.path}: '{raw_name}'",
        fix="merge the adapter with the program that made it",
    )
