"""LoRAs and checkpoints by name: in the folders where a person keeps them, and in the current one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from loralathe.adapters.detect import close_files
from loralathe.errors import InputError, close_matches, few, option
from loralathe.tensorfiles import (
    MODEL_SUFFIXES,
    MemoryPath,
    holds_model,
    models_in_folders,
    name_key,
    read_header,
    stored_path,
)

OPTIONS = {"adapter": "lora_dir", "checkpoint": "checkpoint_dir", "file": "lora_dir"}
"""What is looked for, and the option that names its folders; a file is either of the two."""


class ModelFolders:
    """Looks names up: `hina` is hina.safetensors here, or a file of that name in one of the folders.

    In the folders a name is a file's stem, its path inside the folder, or the name that its metadata gives;
    it is compared exactly first, then without case. The ending may be left out. The folders are read when a
    name is asked for that is not known yet, so a file that was just saved is found.
    """

    def __init__(
        self,
        folders: Iterable[str | os.PathLike[str]] = (),
        what: Literal["adapter", "checkpoint", "file"] = "adapter",
    ) -> None:
        self._folders = tuple(Path(folder) for folder in folders)
        self._what = what
        self._files: dict[str, list[Path]] = {}

    def find(self, name: str | os.PathLike[str], near: Path | None = None) -> Path:
        """The file that `name` means, or the path; InputError, with close names, for none and for several.

        near: where it would be as a path, if not here.
        """
        path = Path(name)
        here = stored_path(near or path)
        if here.is_file() or (here.is_dir() and holds_model(here)):
            return here
        found = self._matching(path, here)
        if not found:
            raise self._not_found(str(path))
        if len(found) > 1:
            raise InputError(
                f"several files are called '{path}'",
                where=few([str(one) for one in found], 9),
                fix="name one of them by its path",
            )
        return found[0]

    def place(self, given: Path, name: str = "") -> Path:
        """`find`, but without folders what is not found stays as it is given: the reader knows its errors.

        name: what folders are searched for, where `given` is a path beside some other file.
        """
        if isinstance(given, MemoryPath):
            return given
        here, called = stored_path(given), Path(name or given)
        if here.exists() or not (self._folders or self._matching(called, here)):
            return here
        return self.find(called, here)

    def _matching(self, path: Path, here: Path) -> list[Path]:
        """Files of this name, each once, whatever the ways to it."""
        if self._folders and not path.is_absolute() and not self._known(path):
            self._read_folders()
        found = [*_with_endings(here), *self._known(path)] or self._by_own_name(str(path))
        return list({_identity(one): one for one in reversed(found)}.values())[::-1]

    def _known(self, path: Path) -> list[Path]:
        wanted = _without_ending(path)
        ending = path.as_posix().removeprefix(wanted)
        key = name_key(wanted)
        found = self._files.get(key) or [
            one for name, files in self._files.items() if name.casefold() == key.casefold() for one in files
        ]
        return [one for one in found if not ending or one.suffix.casefold() == ending.casefold()]

    def _read_folders(self) -> None:
        self._files = {}
        for folder in self._folders:
            if not folder.is_dir():
                raise InputError(
                    f"the folder '{folder}' does not exist", fix=f"correct {option(OPTIONS[self._what])}"
                )
            for path in models_below(folder):
                inside = _without_ending(path.relative_to(folder))
                for name in dict.fromkeys([name_key(inside.rpartition("/")[2]), name_key(inside)]):
                    self._files.setdefault(name, []).append(path)

    def _by_own_name(self, name: str) -> list[Path]:
        """Files whose metadata calls them `name` (`ss_output_name`, which A1111 inserts in prompts)."""
        found = []
        for path in dict.fromkeys(one for files in self._files.values() for one in files):
            try:
                noted = read_header(path).metadata.get("ss_output_name")
            except InputError:  # a damaged file nearby does not matter unless it is used
                continue
            if noted is not None and name_key(noted) == name_key(name):
                found.append(path)
        return found

    def _not_found(self, name: str) -> InputError:
        known = {one.stem: one for one in _models_in(Path())}
        known |= {called: files[0] for called, files in self._files.items()}
        wanted, keyword = _without_ending(Path(name)), option(OPTIONS[self._what])
        if self._what == "file":
            near = close_matches(wanted, known)
        else:
            near = close_files(wanted, known, adapters=self._what == "adapter")
        if near:
            fix = "did you mean " + " or ".join(f"'{match}'" for match in near) + "?"
        elif self._folders:
            fix = f"give a path, or another {keyword}"
        else:
            fix = f"give a path, or name the folder of your files with {keyword}"
        where = ", ".join(str(folder) for folder in self._folders) or None
        return InputError(f"no {self._what} is called '{name}'", where=where, fix=fix)


def models_below(folder: Path) -> list[Path]:
    """All models under a folder, in order of their paths; one that is a folder stands for its files."""
    folders = set(models_in_folders(folder))
    files = (path for path in folder.rglob("*") if _is_model(path) and path.is_file())
    return sorted([*folders, *(path for path in files if folders.isdisjoint(path.parents))])


def _is_model(path: Path) -> bool:
    return path.suffix.casefold() in MODEL_SUFFIXES


def _models_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _is_model(path))
    except OSError:  # a folder that may not be listed has no close names to offer
        return []


def _with_endings(path: Path) -> list[Path]:
    """`hina` → hina.safetensors, where that is a file."""
    if _is_model(path) or not path.name:
        return []
    places = (stored_path(path.with_name(path.name + ending)) for ending in MODEL_SUFFIXES)
    return [place for place in places if place.is_file()]


def _without_ending(path: Path) -> str:
    return (path.with_suffix("") if _is_model(path) else path).as_posix()


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
