"""Names: inputs of a formula from file names, and files for results."""

from __future__ import annotations

import keyword
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from loralathe.language import functions
from loralathe.tensorfiles import MODEL_SUFFIXES

SUFFIX = ".safetensors"
LONGEST = 120
"""Bytes of a file name that is made up; file systems take 255."""


def identifier(text: str) -> str:
    """`animagine-xl-3.1` → `animagine_xl_3_1`: a name that formulas can use."""
    # Python's parser, which reads formulas, normalises names the same way (PEP 3131).
    name = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", text)).strip("_") or "model"
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
    """A model file's name without `.safetensors`, `.ckpt`, …"""
    return path.name.removesuffix(path.suffix) if path.suffix.casefold() in MODEL_SUFFIXES else path.name


def beside(first: Path, name: str) -> Path:
    """A result's file: in the folder of the first input, its name made harmless and not too long."""
    clean = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "", name).strip(". ") or "result"
    while len(os.fsencode(clean)) > LONGEST:
        clean = clean[:-1]
    return first.with_name(clean + SUFFIX)


def formula_name(formula: str, inputs: Mapping[str, Path]) -> str:
    """`B + 0.8*lora@X` → `baseB+0.8lora@X`: the formula with the files' own names, fit for a file name."""

    def own(match: re.Match[str]) -> str:
        path = inputs.get(match[0])
        return stem(path) if path else match[0]

    return re.sub(r"[^\W\d]\w*", own, re.sub(r"\s+", "", formula))
