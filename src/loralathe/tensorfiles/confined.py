"""The folders that a process is kept to, where others say what it reads and writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from loralathe.errors import InputError
from loralathe.tensorfiles.user_folders import cache_folder


class _Kept:
    reading: tuple[Path, ...] | None = None
    writing: tuple[Path, ...] = ()


def confine(reading: Iterable[str | os.PathLike[str]], writing: Iterable[str | os.PathLike[str]]) -> None:
    """From now on, read a person's files only in these folders, and write only in those; for good.

    The program's own cache may be written to, too.
    """
    cache = cache_folder()
    own = () if cache is None else (cache,)
    _Kept.writing = tuple(Path(os.path.realpath(one)) for one in (*writing, *own))
    _Kept.reading = (*(Path(os.path.realpath(one)) for one in reading), *_Kept.writing)


def confined_to() -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """(reading, writing) of this process, for one that it begins; None where it is not kept to folders."""
    if _Kept.reading is None:
        return None
    return tuple(map(str, _Kept.reading)), tuple(map(str, _Kept.writing))


def files_called(name: str) -> Iterator[Path]:
    """Files of this name in the folders that this process is kept to; none where it is not kept to any."""
    for folder in _Kept.reading or ():
        for place, _, names in os.walk(folder):
            if name in names:
                yield Path(place, name)


def is_readable(path: Path) -> bool:
    """Whether `require_readable` lets it pass."""
    return _Kept.reading is None or _is_in(path, _Kept.reading)


def require_readable(path: Path) -> None:
    """InputError for a file outside of the folders, wherever links lead."""
    if _Kept.reading is not None:
        _require(path, _Kept.reading)


def require_writable(path: Path) -> None:
    """InputError for a file outside of the folders that may be written to."""
    if _Kept.reading is not None:
        _require(path, _Kept.writing)


def _require(path: Path, folders: tuple[Path, ...]) -> None:
    if not _is_in(path, folders):
        raise InputError(
            "this is outside of the folders that may be used", where=str(path), fix="choose a file in them"
        )


def _is_in(path: Path, folders: tuple[Path, ...]) -> bool:
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(folder) for folder in folders)
