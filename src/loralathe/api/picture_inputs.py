"""What pictures are made with: LoRAs as they are given, block lists and element rules, and their checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.adapters import ModelFolders
from loralathe.api.arguments import PathLike, block_presets, tell_problems
from loralathe.api.model_options import ModelOptions
from loralathe.errors import InputError, option
from loralathe.tensorfiles import MemoryPath

if TYPE_CHECKING:
    from loralathe.families import Family
    from loralathe.rendering import ImageRequest
    from loralathe.strengths import AdapterUse


@dataclass(frozen=True)
class Lists:
    """The person's block lists and element rules by name."""

    blocks: Mapping[str, str]
    elements: Mapping[str, str]


def lists_of(options: ModelOptions) -> Lists:
    """Lists that are given win over those of a file; broken lines of files are told."""
    from loralathe.strengths import read_element_preset_file

    blocks = {**block_presets(options.presets, options.progress), **options.lists}
    if options.element_presets is None:
        return Lists(blocks, {})
    file = Path(options.element_presets)
    found = read_element_preset_file(file)
    tell_problems(file, found.problems, options.progress)
    return Lists(blocks, dict(found.presets))


def adapters_of(given: Sequence[PathLike | AdapterUse], folders: tuple[Path, ...]) -> tuple[AdapterUse, ...]:
    """`hina.safetensors:0.7:te=0`, or `hina:0.7`."""
    from loralathe.strengths import AdapterUse, read_argument

    if any(isinstance(one, (Mapping, MemoryPath)) for one in given):
        raise InputError(
            "a LoRA of pictures is a file; only the checkpoint may be tensors in memory",
            fix="save the tensors with safetensors.torch.save_file and give the file",
        )
    known = ModelFolders(folders)
    uses = [one if isinstance(one, AdapterUse) else read_argument(str(one)) for one in given]
    return tuple(replace(use, file=str(_adapter_file(use, known))) for use in uses)


def _adapter_file(use: AdapterUse, folders: ModelFolders) -> Path:
    from loralathe.adapters import shows_adapter
    from loralathe.tensorfiles import read_header

    file = folders.place(use.path)
    if not shows_adapter(read_header(file).tensors):
        raise InputError(
            "this is not an adapter",
            where=str(file),
            fix="one checkpoint comes first, adapters follow it; inspect says what a file is",
        )
    return file


def check_family(file: str, family: Family) -> None:
    """InputError for an adapter of another family, from its header: models take long to load."""
    from loralathe.adapters import detect_adapter
    from loralathe.tensorfiles import read_header

    made_for = detect_adapter(read_header(file), file).families
    if family.id not in [one.id for one in made_for]:
        labels = " or ".join(one.label for one in made_for)
        raise InputError(
            f"this LoRA is for {labels}, the checkpoint is {family.label}",
            where=file,
            fix=f"use a LoRA made for {family.label}",
        )


def check_examined(files: list[Path], request: ImageRequest, name: str) -> None:
    """One adapter is examined; where there are several, it is named or carries the mark XYZ."""
    if not files:
        raise InputError(
            "no LoRA is given to examine",
            fix="give it after the checkpoint, or as a <lora:…> tag in the prompt",
        )
    if len(files) > 1 and not name and "XYZ" not in f"{request.prompt}{request.adapters}".upper():
        choices = " or ".join(option("adapter", file.stem) for file in files)
        raise InputError(f"which of the {len(files)} LoRAs should be examined?", fix=choices)
