"""How a model is opened and where it runs: options, their defaults, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from loralathe.api.arguments import Folders, PathLike, Presets, folders_of
from loralathe.api.programs import program_folders
from loralathe.errors import Value

if TYPE_CHECKING:
    from loralathe.progress import Progress
    from loralathe.rendering.loading import PartFiles


@dataclass(frozen=True)
class ModelOptions:
    """How a model is opened and where it runs.

    device:   auto, cpu, cuda, cuda:1, mps;  dtype: None is fp32 on the CPU and fp16 elsewhere.
    devices:  a process for each, in place of `device`: "all" GPUs, "cuda:0,cuda:1", "cpu,cpu".
    on:       others in place of this process: "comfyui://host:port", "a1111://host:port", "ray".
    comfyui, webui: folder of that program on this machine: its models are found, LoRAs written for it.
    low_vram: networks come to the device in turn, transformers block by block
    batch: pictures at once, None is what fits.
    prediction: epsilon or v, where the checkpoint does not say.
    text_encoder: files of those that the checkpoint lacks, or folders with them (ComfyUI's, diffusers').
    tokenizer: tokenizer.json of a text encoder that is a language model, or a folder with it.
    hashes:   the pictures' infotext has hashes of the files.
    lora_dir, checkpoint_dir: folders in which files are found by name, besides the current one.
    embeddings: folders of textual-inversion embeddings, which prompts name by their files' names.
    lists, presets, element_presets: block lists by name, a file of them, and a file of element rules.
    missing_blocks: weight of blocks that a list lacks; None makes them an error.
    allow_unmatched: leave out modules of a LoRA that have no place in the model.
    """

    device: str = "auto"
    devices: str = ""
    on: str = ""
    comfyui: PathLike | None = None
    webui: PathLike | None = None
    dtype: Literal["fp32", "fp16", "bf16"] | None = None
    low_vram: bool = False
    batch: int | None = None
    prediction: Literal["epsilon", "v"] | None = None
    text_encoder: Folders = ()
    tokenizer: PathLike | None = None
    hashes: bool = False
    lora_dir: Folders = ()
    checkpoint_dir: Folders = ()
    embeddings: Folders = ()
    lists: Mapping[str, str] = field(default_factory=dict)
    presets: Presets | None = None
    element_presets: PathLike | None = None
    missing_blocks: Literal[0, 1] | None = None
    allow_unmatched: bool = False
    progress: Progress | None = None

    @property
    def part_files(self) -> PartFiles:
        """What the person names beside the checkpoint."""
        from loralathe.rendering.loading import PartFiles

        return PartFiles(
            folders_of(self.text_encoder), None if self.tokenizer is None else Path(self.tokenizer)
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where LoRAs are found by name."""
        return (*folders_of(self.lora_dir), *self._of_programs("loras"))

    @property
    def checkpoint_folders(self) -> tuple[Path, ...]:
        """Where checkpoints are found by name."""
        return (*folders_of(self.checkpoint_dir), *self._of_programs("checkpoints"))

    def _of_programs(self, kind: str) -> tuple[Path, ...]:
        return (
            *program_folders("comfyui", self.comfyui, kind),
            *program_folders("webui", self.webui, kind),
        )


class ModelKeywords(TypedDict, total=False):
    """The fields of `ModelOptions`."""

    device: str
    devices: str
    on: str
    comfyui: PathLike | None
    webui: PathLike | None
    dtype: Literal["fp32", "fp16", "bf16"] | None
    low_vram: bool
    batch: int | None
    prediction: Literal["epsilon", "v"] | None
    text_encoder: Folders
    tokenizer: PathLike | None
    hashes: bool
    lora_dir: Folders
    checkpoint_dir: Folders
    embeddings: Folders
    lists: Mapping[str, str]
    presets: Presets | None
    element_presets: PathLike | None
    missing_blocks: Literal[0, 1] | None
    allow_unmatched: bool
    progress: Progress | None


def parted(keywords: Mapping[str, Any], kind: type[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the keywords that are fields of `kind`, the others)."""
    names = {one.name for one in fields(kind)}
    taken = {name: value for name, value in keywords.items() if name in names}
    return taken, {name: value for name, value in keywords.items() if name not in names}


REPEATED = (
    "device", "dtype", "low_vram", "prediction", "text_encoder", "tokenizer", "embeddings", "missing_blocks",
    "allow_unmatched",
)  # fmt: skip


def repeated(options: ModelOptions) -> dict[str, Value]:
    """The options that a command repeats to draw the same pixels: those that are not as usual."""
    usual = ModelOptions()
    found: dict[str, Value] = {}
    for name in REPEATED:
        value = getattr(options, name)
        if isinstance(value, (str, os.PathLike)) and name in ("text_encoder", "embeddings"):
            value = [value]
        if value in (getattr(usual, name), []):
            continue
        if isinstance(value, (list, tuple)):
            found[name] = [os.fspath(one) for one in value]
        else:
            found[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return found
