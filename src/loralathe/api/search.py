"""Files as they are given: paths, tensors in memory, and names that are looked up in a person's folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loralathe.adapters import ModelFolders
from loralathe.api.arguments import File, Folders, Inputs, PathLike, as_path, folders_of
from loralathe.tensorfiles import MemoryPath

if TYPE_CHECKING:
    from loralathe.strengths import AdapterUse


class Search:
    """Finds checkpoints and LoRAs: `hina` is hina.safetensors here, or one of that name in the folders."""

    def __init__(self, lora_dir: Folders = (), checkpoint_dir: Folders = ()) -> None:
        loras, checkpoints = folders_of(lora_dir), folders_of(checkpoint_dir)
        self.folders = (*loras, *checkpoints)
        self.either = ModelFolders(self.folders, "file")
        self._loras = ModelFolders(loras)
        self._checkpoints = ModelFolders(checkpoints, "checkpoint")

    def checkpoint(self, given: File, name: str) -> Path:
        """Where it is; of tensors in memory, a place that formulas and messages call `name`."""
        return self._checkpoints.place(as_path(given, name))

    def lora(self, given: File, name: str) -> Path:
        """As `checkpoint`."""
        return self._loras.place(as_path(given, name))

    def file(self, given: File, name: str) -> Path:
        """A checkpoint or a LoRA."""
        return self.either.place(as_path(given, name))

    def files(self, inputs: Inputs | None) -> dict[str, Path]:
        """Name → place."""
        return {name: self.file(given, name) for name, given in (inputs or {}).items()}

    def uses(self, given: Iterable[File | AdapterUse]) -> tuple[list[AdapterUse], dict[str, Path]]:
        """LoRAs with their strengths; the places of those that are in memory by the name of their file."""
        from loralathe.strengths import given_uses

        held: dict[str, Path] = {}
        plain: list[PathLike | AdapterUse] = []
        for number, one in enumerate(given, 1):
            if isinstance(one, (Mapping, MemoryPath)):
                path = as_path(one, "lora" if number == 1 else f"lora{number}")
                held[str(path)] = path
                plain.append(str(path))
            else:
                plain.append(one)
        found = [
            use if use.file in held else replace(use, file=str(self._loras.place(use.path)))
            for use in given_uses(plain)
        ]
        return found, held


def search_of(keywords: Mapping[str, Any]) -> Search:
    """Of a function's keywords: `lora_dir` and `checkpoint_dir`."""
    return Search(keywords.get("lora_dir", ()), keywords.get("checkpoint_dir", ()))
