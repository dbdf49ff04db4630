"""Names that formulas use for files: one for each, which no function, step or other file has."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from pathlib import Path

from loralathe.language.methods import functions
from loralathe.language.syntax import plain_name
from loralathe.tensorfiles import MODEL_SUFFIXES, MemoryPath, is_folder_model


def identifier(text: str) -> str:
    """`animagine-xl-3.1` → `animagine_xl_3_1`: a name that formulas can use."""
    name = re.sub(r"\W+", "_", plain_name(text)).strip("_") or "model"
    if not name.isidentifier():
        name = f"_{name}" if f"_{name}".isidentifier() else "model"
    return f"{name}_" if keyword.iskeyword(name) or name in functions() else name


class InputNames:
    """Gives each file a name that no other has; the same file keeps its name."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)
        self._by_path: dict[Path, str] = {}
        self.inputs: dict[str, Path] = {}

    def name(self, path: Path) -> str:
        """The name of `path`, new or known."""
        key = path.absolute()
        if key not in self._by_path:
            wanted = identifier(stem(path))
            name, number = wanted, 2
            while name in self._taken:
                name, number = f"{wanted}_{number}", number + 1
            self._taken.add(name)
            self._by_path[key] = name
            self.inputs[name] = path
        return self._by_path[key]


def stem(path: Path) -> str:
    """A model's name without `.safetensors`, …; of tensors in memory the name they were given."""
    if isinstance(path, MemoryPath):
        return path.name.removeprefix("<").removesuffix(" in memory>")
    if path.name.endswith(".json") and is_folder_model(path):
        return path.parent.name
    return path.name.removesuffix(path.suffix) if path.suffix.casefold() in MODEL_SUFFIXES else path.name
