"""An adapter file: opened, recognised, every module named and checked. Factors stay on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType

from ..architectures import (
    SD1,
    SD2,
    SDXL,
    AdapterDetected,
    Architecture,
    canonical_of_raw,
    detect_adapter,
    group_by_module,
)
from ..errors import InputError
from ..tensorfiles import Header, TensorFile, open_tensorfile
from .kinds import USABLE, refuse_unusable
from .modules import SPARSE_BIAS, AdapterModule, read_module


@dataclass(frozen=True)
class Adapter:
    """A LoRA or LoCon file. Close it, or use it in a `with` block.

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
    """Open a LoRA or LoCon in kohya's layout; only the header and the alphas are read.

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
    modules: dict[str, AdapterModule] = {}
    unmatched: list[str] = []
    for raw_name, parts in grouped.parts.items():
        name = canonical_of_raw(architecture, raw_name)
        unmatched += [key for part, key in parts.items() if part in SPARSE_BIAS]
        if name is None:
            unmatched.append(raw_name)
            continue
        if name in modules:
            raise _named_twice(file, modules[name].raw_name, raw_name)
        kind = USABLE.get(detected.kinds[raw_name], "lora")
        block = architecture.block_of_module(name)
        modules[name] = read_module(file, parts, name=name, raw_name=raw_name, kind=kind, block=block)
    return Adapter(
        file,
        architecture,
        made_for,
        MappingProxyType(modules),
        (*unmatched, *grouped.strangers),
        file.header.metadata,
    )


def _named_twice(file: TensorFile, first: str, second: str) -> InputError:
    return InputError(
        "two modules of the file are the same layer of the model",
        where=f"{file.path}: '{first}' and '{second}'",
        fix="the file mixes two spellings of module names; save it again with the program that made it",
    )


TEXT_WIDTHS = {768: SD1, 1024: SD2, 2048: SDXL}
"""Columns of attn2.to_k: the width of the text that the U-Net reads."""


def own_architecture(header: Header, detected: AdapterDetected) -> Architecture:
    """The family that an adapter was made for, as far as its header tells.

    SD 1 and SD 2 share all names, and a LoRA of few modules may fit SDXL too. The text width tells them
    apart, else the projections (convolutions in SD 1, linear layers in SD 2 as sd-scripts builds it), else
    the trainer's note, else it is the first.
    """
    candidates = detected.architectures
    downs = {
        name: header.tensors[key].shape
        for raw_name, name in detected.names.items()
        if (key := f"{raw_name}.lora_down.weight") in header.tensors
    }
    by_width = {TEXT_WIDTHS.get(shape[1]) for name, shape in downs.items() if name.endswith(".attn2.to_k")}
    for architecture in candidates:
        if architecture in by_width:
            return architecture
    if SD2 not in candidates:
        return candidates[0]
    projections = {len(shape) for name, shape in downs.items() if name.endswith((".proj_in", ".proj_out"))}
    noted = header.metadata.get("ss_v2") == "True"
    return SD2 if projections == {2} or (noted and not projections) else candidates[0]
