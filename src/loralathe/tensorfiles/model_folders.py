"""Model files by name: in the folders where a person keeps them, and in the current one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from loralathe.errors import InputError, close_matches, few, option
from loralathe.tensorfiles.input_files import MODEL_SUFFIXES
from loralathe.tensorfiles.memory import MemoryPath
from loralathe.tensorfiles.reader import read_header

OWN_NAME = "ss_output_name"
"""Metadata with the name that a file was trained under, which A1111 inserts in prompts."""


class ModelFolders:
    """Looks names up: `hina` is hina.safetensors here, or a file of that name in one of the folders.

    In the folders a name is a file's stem, its path inside the folder, or the name that its metadata gives;
    it is compared exactly first, then without case. The ending may be left out. The folders are read when a
    name is asked for that is not known yet, so a file that was just saved is found.
    """

    def __init__(
        self,
        folders: Iterable[str | os.PathLike[str]] = (),
        *,
        what: str = "adapter",
        keyword: str = "lora_dir",
    ) -> None:
        """what, keyword: how errors call the files and the option that names the folders."""
        self._folders = tuple(Path(folder) for folder in folders)
        self._what = what
        self._keyword = keyword
        self._files: dict[str, list[Path]] = {}

    def find(self, name: str | os.PathLike[str]) -> Path:
        """The file that `name` means, or the path; InputError, with close names, for none and for several."""
        path = Path(name)
        if path.is_file():
            return path
        found = self._matching(path)
        if not found:
            raise self._not_found(str(path))
        if len(found) > 1:
            raise InputError(
                f"several files are called '{path}'",
                where=few([str(one) for one in found], 9),
                fix="name one of them by its path",
            )
        return found[0]

    def place(self, given: Path) -> Path:
        """`find`, but without folders what is not found stays as it is given: the reader knows its errors."""
        if isinstance(given, MemoryPath) or given.exists():
            return given
        if not self._folders and not self._matching(given):
            return given
        return self.find(given)

    def _matching(self, path: Path) -> list[Path]:
        """Files of this name, each once, whatever the ways to it."""
        if self._folders and not path.is_absolute() and not self._known(path):
            self._read_folders()
        found = [*_with_endings(path), *self._known(path)] or self._by_own_name(str(path))
        return list({_identity(one): one for one in reversed(found)}.values())[::-1]

    def _known(self, path: Path) -> list[Path]:
        ending = path.suffix if path.suffix.casefold() in MODEL_SUFFIXES else ""
        wanted = path.as_posix().removesuffix(ending)
        folded = wanted.casefold()
        found = self._files.get(wanted) or [
            one for name, files in self._files.items() if name.casefold() == folded for one in files
        ]
        return [one for one in found if one.suffix.casefold() == ending.casefold() or not ending]

    def _read_folders(self) -> None:
        self._files = {}
        for folder in self._folders:
            if not folder.is_dir():
                raise InputError(
                    f"the folder '{folder}' does not exist", fix=f"correct {option(self._keyword)}"
                )
            for path in models_below(folder):
                inside = path.relative_to(folder).with_suffix("").as_posix()
                for name in dict.fromkeys([path.stem, inside]):
                    self._files.setdefault(name, []).append(path)

    def _by_own_name(self, name: str) -> list[Path]:
        found = []
        for path in dict.fromkeys(one for files in self._files.values() for one in files):
            try:
                noted = read_header(path).metadata.get(OWN_NAME)
            except InputError:  # a damaged file nearby does not matter unless it is used
                continue
            if noted == name:
                found.append(path)
        return found

    def _not_found(self, name: str) -> InputError:
        near = close_matches(name, [*self._files, *(path.stem for path in _models_in(Path()))])
        if near:
            fix = "did you mean " + " or ".join(f"'{match}'" for match in near) + "?"
        elif self._folders:
            fix = f"{len(self._files)} names are known; give a path, or another {option(self._keyword)}"
        else:
            fix = f"give a path, or name the folder of your files with {option(self._keyword)}"
        where = ", ".join(str(folder) for folder in self._folders) or None
        return InputError(f"no {self._what} is called '{name}'", where=where, fix=fix)


def models_below(folder: Path) -> list[Path]:
    """All model files under a folder, in order of their paths."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix.casefold() in MODEL_SUFFIXES and path.is_file()
    )


def _models_in(folder: Path) -> Iterator[Path]:
    try:
        yield from (path for path in folder.iterdir() if path.suffix.casefold() in MODEL_SUFFIXES)
    except OSError:  # a folder that may not be listed has no close names to offer
        return


def _with_endings(path: Path) -> list[Path]:
    """`hina` → hina.safetensors, where that is a file."""
    if path.suffix.casefold() in MODEL_SUFFIXES or not path.name:
        return []
    return [one for ending in MODEL_SUFFIXES if (one := path.with_name(path.name + ending)).is_file()]


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
