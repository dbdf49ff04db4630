"""A checkpoint that is written as a folder of diffusers: where its tensors go, which configs come along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loralathe.engine.sources import CheckpointSource
from loralathe.errors import InputError, about, counted, did_you_mean, few, option
from loralathe.families import FolderLayout, folder_layout
from loralathe.language import DIFFUSERS, LAYOUTS, Save
from loralathe.strengths import parse_size
from loralathe.tensorfiles import MemoryPath, NetworkPlan, TensorSpec, model_files

CONFIG = "config.json"
"""Of a network, in its folder: without it diffusers does not know how to build it."""
SMALL = (".json", ".txt", ".model", ".jinja")
"""Endings of files that are no weights: configs, vocabularies, tokenizers."""
LARGEST_SMALL = 16 << 20
"""Bytes of such a file."""
MOST_SMALL = 500
MOST_SHARDS = 500


@dataclass(frozen=True)
class FolderOutput:
    """What a folder holds.

    layout:  where tensors go;  largest: bytes of tensors in one file
    configs: name in the folder → file that is copied there
    notes:   sentences about what is copied, lacking and left out
    """

    layout: FolderLayout
    largest: int
    configs: Mapping[str, Path] = field(hash=False)
    notes: tuple[str, ...]

    def networks(self, specs: Mapping[str, TensorSpec]) -> list[NetworkPlan]:
        """Their tensors as they are written; specs: of the original layout, under their keys."""
        return [
            NetworkPlan(
                network.folder,
                network.stem,
                [
                    TensorSpec(name, specs[made.runs[0].name].dtype, made.shape)
                    for name, made in network.tensors.items()
                ],
            )
            for network in self.layout.networks
        ]


def folder_output(
    save: Save, source: CheckpointSource, specs: Sequence[TensorSpec], where: str
) -> FolderOutput | None:
    """The folder of an output that asks for one, None for those that are one file.

    source: the checkpoint that gives the output its tensors.  Raises InputError for a folder that is no
    model of diffusers, and where nothing has a place in one.
    """
    if save.layout not in LAYOUTS:
        raise InputError(
            f"no layout is called '{save.layout}'",
            where=where,
            fix=did_you_mean(save.layout, LAYOUTS) or f"layouts are {' and '.join(LAYOUTS)}",
            about="layout",
        )
    if save.layout != DIFFUSERS:
        return None
    if isinstance(save.file, MemoryPath):
        raise InputError(
            "a folder of diffusers cannot be in memory", where=where, fix="leave layout out, or name a folder"
        )
    family = source.detected.family
    layout = folder_layout(family, {spec.name: spec for spec in specs})
    if not layout.networks:
        raise InputError(
            f"nothing of it has a place in a folder of diffusers for {family.label}", where=where
        )
    folders = [network.folder for network in layout.networks]
    like = save.like or source.path
    configs = _configs(like, folders) if like.is_dir() else {}
    if save.like is not None and f"{folders[0]}/{CONFIG}" not in configs:
        raise InputError(
            f"no configuration of a {family.label} model is there",
            where=str(save.like),
            fix=f"name a folder of diffusers, in which {folders[0]}/{CONFIG} lies",
            about="like",
        )
    with about("shard_size"):
        largest = parse_size(save.shard_size)
    size = sum(spec.nbytes for spec in specs)
    if size / largest > MOST_SHARDS:
        raise InputError(
            f"a folder of more than {MOST_SHARDS} files",
            where=option("shard_size", save.shard_size),
            fix="give larger ones; 10GB is usual",
            about="shard_size",
        )
    return FolderOutput(layout, largest, configs, tuple(_notes(like, configs, layout)))


def _configs(like: Path, folders: Sequence[str]) -> dict[str, Path]:
    """The small files of a diffusers folder: those of our networks, and of all that is no network.

    like: a whole folder, or that of the U-Net or transformer alone.
    """
    if (like / CONFIG).is_file() and not any((like / folder).is_dir() for folder in folders):
        return {f"{folders[0]}/{CONFIG}": like / CONFIG}
    try:
        weights = {file.parent for file in model_files(like)}
    except InputError:  # no weights are needed here, nor whole ones
        weights = set()
    found: dict[str, Path] = {}
    for folder in (like, *sorted(one for one in like.iterdir() if one.is_dir())):
        if folder.name.startswith(".") or (folder in weights and folder.name not in folders):
            continue
        for file in sorted(folder.iterdir())[:MOST_SMALL]:
            wanted = file.name.endswith(SMALL) and ".index." not in file.name
            if folder == like:
                wanted = file.name == "model_index.json"
            if wanted and file.is_file() and file.stat().st_size <= LARGEST_SMALL:
                found[file.relative_to(like).as_posix()] = file
    return found


def _notes(like: Path, configs: Mapping[str, Path], layout: FolderLayout) -> Iterator[str]:
    lacking = [f"{one.folder}/{CONFIG}" for one in layout.networks if f"{one.folder}/{CONFIG}" not in configs]
    if "model_index.json" not in configs:
        lacking.append("model_index.json, scheduler and tokenizers")
    if configs:
        yield f"{counted(len(configs), 'config')} copied from {like}"
    if lacking:
        yield (
            f"not written, as weights do not tell them: {few(lacking, 9)}; copy them from the folder of the "
            "model that this one was made from, or name that folder as 'like'"
        )
    if layout.left_out:
        tensors = counted(len(layout.left_out), "tensor")
        yield f"{tensors} without a place in the diffusers layout left out: {few(list(layout.left_out))}"
