"""Checks of an output path before any work: may it be written, and is there room on the disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from loralathe.errors import InputError, MachineError, option

SUFFIX = ".safetensors"
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def check_output(
    path: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]] = (),
    force: bool = False,
    *,
    suffix: str | None = SUFFIX,
) -> None:
    """Raise unless a result may be written to `path`; nothing is touched.

    InputError: no file can have its name; its suffix is not `suffix` (None: any will do); a file stands
    where its folder would be made; the file is one of `inputs` under any name (links included); it exists
    and `force` is not set; it is a device, a pipe or a loop of symlinks.
    MachineError: the folder is not writable, or may not be looked into.
    """
    target, final = Path(path), real_path(path)
    where = str(target)
    if target.is_dir():
        raise InputError("a folder has this name", where=where, fix="choose another output name")
    if suffix is not None and target.suffix.casefold() != suffix:
        fix = f"name it '{target.with_suffix(SUFFIX).name}'" if target.name else "name a file"
        raise InputError("only safetensors files are written", where=where, fix=fix)
    folder = _nearest(final.parent)
    if not folder.is_dir():
        raise InputError("this is a file, not a folder", where=str(folder), fix="choose another output name")
    for source in inputs:
        if same_file(target, source):
            raise InputError(
                "the output is one of the inputs",
                where=where if where == str(source) else f"{where} is the same file as {source}",
                fix="choose another output name",
            )
    if os.path.lexists(target) and not force:
        raise InputError(
            "the output exists",
            where=where,
            fix=f"choose another name, or replace it with {option('force', True)}",
        )
    if os.path.lexists(final) and not final.is_file():
        # A device that a link leads to would be replaced like any file.
        raise InputError(
            "the output path is a device, a pipe or a loop of symlinks",
            where=where,
            fix="choose another output name",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MachineError(
            "the folder is not writable",
            where=str(folder),
            fix="choose another folder, or change its permissions",
        )


def check_folder(path: Path, inputs: Iterable[Path] = ()) -> None:
    """The same for a folder that is to be made: nothing but an empty folder may have its name.

    Nothing in a folder is ever replaced: a person may keep other things there.
    """
    final, where = real_path(path), str(path)
    for source in inputs:
        if same_file(final, source) or final.is_relative_to(os.path.realpath(source)):
            raise InputError("the output is in one of the inputs", where=where, fix="choose another folder")
    if final.suffix.casefold() == SUFFIX:
        raise InputError(
            "a folder is written, not a file", where=where, fix=f"name it '{path.with_suffix('').name}'"
        )
    if os.path.lexists(final) and not final.is_dir():
        raise InputError("a file has this name", where=where, fix="choose another name for the folder")
    if final.is_dir() and any(final.iterdir()):
        raise InputError(
            "the folder exists, and there is something in it",
            where=where,
            fix="choose another name, or delete the folder",
        )
    above = _nearest(final.parent)
    if not above.is_dir():
        raise InputError("this is a file, not a folder", where=str(above), fix="choose another output name")
    if not os.access(above, os.W_OK | os.X_OK):
        raise MachineError(
            "the folder is not writable",
            where=str(above),
            fix="choose another folder, or change its permissions",
        )


def real_path(path: str | os.PathLike[str]) -> Path:
    """The file that an output path leads to, links followed; errors as `check_output`, for its name alone."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except ValueError:
        raise InputError("not a path", where=repr(str(path)), fix="take out the NUL character") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            fix = "choose a shorter output name"
            raise InputError("the name is too long for this disk", where=str(path), fix=fix) from None
        if error.errno != errno.ELOOP:
            raise write_error(error, Path(path)) from error
    return Path(os.path.realpath(path))  # Path.resolve is an error where links go in a circle


def _nearest(place: Path) -> Path:
    """`place`, or the nearest folder above it that exists."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one existing file, through any hard or symbolic link."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def free_space(path: str | os.PathLike[str]) -> int:
    """Free bytes on the disk that `path` is on or would be on; the path itself need not exist."""
    return shutil.disk_usage(_nearest(Path(os.path.realpath(path)))).free


def write_error(error: OSError, path: Path) -> MachineError:
    """The error that tells a person why `path` could not be written."""
    where = str(path)
    if error.errno in _FULL:
        free = free_space(path)
        return MachineError(
            f"the disk is full ({free:,} bytes free)",
            where=where,
            fix="free some space, or write to another disk",
        )
    if error.errno == errno.EFBIG:
        return MachineError(
            "the file is larger than this disk or this account allows",
            where=where,
            fix="FAT32 disks end at 4 GiB: write to another disk; else raise the limit (ulimit -f)",
        )
    return MachineError(
        f"the file could not be written: {error.strerror or error}",
        where=where,
        fix="check the disk and the folder",
    )
