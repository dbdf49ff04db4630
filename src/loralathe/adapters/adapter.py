"""An adapter file: opened, recognised, every module named and checked. Factors stay on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType, TracebackType

from ..architectures import Architecture, detect_adapter, group_by_module, place_of_raw
from ..errors import InputError
from ..tensorfiles import TensorFile, open_tensorfile
from .fused import fused_module
from .kinds import refuse_unusable
from .modules import AdapterModule, is_vector, read_module
from .origin import own_architecture
from .peft import read_alphas


@dataclass(frozen=True)
class Adapter:
    """An adapter file. Close it, or use it in a `with` block.

    architecture: the one that names were looked up in; made_for: the family the file itself is for
    modules:   canonical name → module, in the order of the file
    unmatched: raw names of modules that the architecture does not have, and keys of tensors that belong to
               no module; an error for whoever uses the adapter, unless the person allows it
    """

    file: TensorFile
    architecture: Architecture
    made_for: Architecture
    modules: Mapping[str, AdapterModule] = field(hash=False)
    unmatched: tuple[str, ...]
    metadata: Mapping[str, str] = field(hash=False)

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Adapter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_adapter(path: str | os.PathLike[str], architecture: Architecture | None = None) -> Adapter:
    """Open an adapter of kohya, LyCORIS, diffusers or PEFT; only the header and the alphas are read.

    `architecture` is the base model's, when there is one; without it the file's own is recognised. Raises
    InputError for checkpoints, kinds and layouts that are not read, and modules that make no sense.
    """
    file = open_tensorfile(path)
    try:
        return _parse(file, architecture)
    except BaseException:
        file.close()
        raise


def _parse(file: TensorFile, wanted: Architecture | None) -> Adapter:
    detected = detect_adapter(file.header, str(file.path))
    refuse_unusable(detected, str(file.path))
    made_for = own_architecture(file.header, detected)
    architecture = wanted or made_for
    grouped = group_by_module(file.header.tensors.keys())
    alphas = read_alphas(file, grouped.parts)
    held: dict[str, _Held] = {}
    unmatched: list[str] = []
    for raw_name, parts in grouped.parts.items():
        place = place_of_raw(architecture, raw_name)
        vectors = [key for part, key in parts.items() if is_vector(part, file.header.tensors[key])]
        unmatched += vectors
        if place is None:
            unmatched.append(raw_name)
            continue
        found = held.setdefault(place.module, _Held(place.slots, {}))
        if place.slot in found.modules or None in found.modules or (found.modules and place.slot is None):
            raise _named_twice(file, next(iter(found.modules.values())).raw_name, raw_name)
        if len(vectors) == len(parts):
            continue
        module = read_module(
            file,
            parts,
            name=place.module,
            raw_name=raw_name,
            kind=detected.kinds[raw_name],
            block=architecture.block_of_module(place.module),
            kernel=architecture.kernel_of_module(place.module),
            alphas=alphas,
        )
        found.modules[place.slot] = replace(module, swapped=place.swapped)
    modules = {name: found.joined(file, name) for name, found in held.items() if found.modules}
    return Adapter(
        file,
        architecture,
        made_for,
        MappingProxyType(modules),
        (*unmatched, *grouped.strangers),
        file.header.metadata,
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """What a file has of one module: all of it under None, or some of its `slots` row slices."""

    slots: int
    modules: dict[int | None, AdapterModule]

    def joined(self, file: TensorFile, name: str) -> AdapterModule:
        parts = {slot: module for slot, module in self.modules.items() if slot is not None}
        return fused_module(file, name, parts, self.slots) if parts else self.modules[None]


def _named_twice(file: TensorFile, first: str, second: str) -> InputError:
    return InputError(
        "two modules of the file are the same layer of the model",
        where=f"{file.path}: '{first}' and '{second}'",
        fix="the file mixes two spellings of module names; save it again with the program that made it",
    )
