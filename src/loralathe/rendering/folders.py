"""Adapters by name, as prompts name them: files in the person's folders, subfolders included."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from loralathe.errors import InputError, close_matches, option
from loralathe.tensorfiles import MODEL_SUFFIXES, read_header


class AdapterFolders:
    """Looks names up: a path that exists, a file's stem, a path inside a folder, a trainer's own name.

    Names are compared exactly first, then without case. Folders are read when a name is asked for that is
    not known yet, so a file that was just saved is found.
    """

    def __init__(self, folders: Iterable[str | os.PathLike[str]] = ()) -> None:
        self._folders = tuple(Path(folder) for folder in folders)
        self._files: dict[str, list[Path]] = {}

    def find(self, name: str) -> Path:
        """The file that `name` means. InputError, with close names, when there is none or several."""
        direct = Path(name)
        if direct.suffix.lower() in MODEL_SUFFIXES and direct.is_file():
            return direct
        found = self._matching(name)
        if not found:
            self._read_folders()
            found = self._matching(name) or self._by_trainers_name(name)
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"several adapters are called '{name}'",
                where=", ".join(str(path) for path in found),
                fix="name it with its folder, as in 'folder/name'",
            )
        raise self._not_found(name)

    def _matching(self, name: str) -> list[Path]:
        wanted = _without_suffix(name).replace("\\", "/")
        exact = self._files.get(wanted, [])
        if exact:
            return exact
        folded = wanted.casefold()
        return list(dict.fromkeys(p for k, ps in self._files.items() if k.casefold() == folded for p in ps))

    def _read_folders(self) -> None:
        self._files = {}
        for folder in self._folders:
            if not folder.is_dir():
                raise InputError(
                    f"the adapter folder '{folder}' does not exist", fix=f"correct {option('lora_dir')}"
                )
            for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in MODEL_SUFFIXES):
                inside = path.relative_to(folder).with_suffix("").as_posix()
                for name in dict.fromkeys([path.stem, inside]):
                    self._files.setdefault(name, []).append(path)

    def _by_trainers_name(self, name: str) -> list[Path]:
        """Files whose metadata calls them `name` (`ss_output_name`, which A1111 inserts in prompts)."""
        found = []
        for path in dict.fromkeys(p for paths in self._files.values() for p in paths):
            try:
                noted = read_header(path).metadata.get("ss_output_name")
            except InputError:  # a damaged file nearby is no reason to fail; using it will tell
                continue
            if noted == name:
                found.append(path)
        return found

    def _not_found(self, name: str) -> InputError:
        near = close_matches(name, self._files)
        if near:
            fix = "did you mean " + " or ".join(f"'{match}'" for match in near) + "?"
        elif self._folders:
            fix = f"{len(self._files)} adapters are known; give a path, or another {option('lora_dir')}"
        else:
            fix = f"give a path, or name the folder of your adapters with {option('lora_dir')}"
        where = ", ".join(str(folder) for folder in self._folders) or None
        return InputError(f"no adapter is called '{name}'", where=where, fix=fix)


def _without_suffix(name: str) -> str:
    return name[: -len(Path(name).suffix)] if Path(name).suffix in MODEL_SUFFIXES else name
