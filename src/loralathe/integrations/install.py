"""Putting a pack of ours into another program's folder: whole or not at all, and never over others' files."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from loralathe import InputError, MachineError, did_you_mean, option

HERE = Path(__file__).parent
NAME = "loralathe"
LEFT_OUT = ("__pycache__", "*.pyc")
DOOR, PYTHON_NOTE = "loralathe_door.py", "python.txt"
"""Beside the files of a pack that keeps loralathe apart."""
PYTHONS = (
    ("venv", "bin", "python"),
    (".venv", "bin", "python"),
    ("venv", "Scripts", "python.exe"),
    (".venv", "Scripts", "python.exe"),
    ("..", "python_embeded", "python.exe"),
    ("..", "python_embedded", "python.exe"),
)
"""Where a program's own Python may be, from its folder."""


@dataclass(frozen=True)
class Program:
    """A program that takes a pack: how it is called, our folder for it, where its own packs are."""

    label: str
    pack: str
    packs: str
    is_there: Callable[[Path], bool]
    mark: tuple[str, str]
    """A file of ours, and what stands in it: by them an older pack is known."""
    apart: bool = False
    """Whether loralathe stays in its own Python, which the pack starts, and is not put into the program's."""


@dataclass(frozen=True)
class Installed:
    """What was put where.

    linked: the pack is a link to the one that is installed with loralathe, and changes with it
    replaced: one of ours stood there before
    apart: the pack starts loralathe's own Python, this one, and needs nothing in the program's
    python: that of the program, in which loralathe must be installed as well; None where none was found
    source: what pip installs there: the folder that this loralathe comes from, or its name
    """

    program: str
    folder: Path
    linked: bool
    replaced: bool
    apart: bool
    python: Path | None
    source: str


def _is_comfyui(folder: Path) -> bool:
    """A copy of ComfyUI, or the folder of a person's files that its desktop app keeps apart."""
    if not (folder / "custom_nodes").is_dir():
        return False
    return (folder / "folder_paths.py").is_file() or all(
        (folder / name).is_dir() for name in ("models", "user")
    )


def _is_webui(folder: Path) -> bool:
    """A1111, Forge, Forge Neo and what comes from them."""
    return (folder / "extensions").is_dir() and (folder / "modules" / "script_callbacks.py").is_file()


PROGRAMS = {
    "comfyui": Program(
        "ComfyUI", "comfyui", "custom_nodes", _is_comfyui, ("pyproject.toml", f'name = "{NAME}"')
    ),
    "webui": Program(
        "webui", "webui", "extensions", _is_webui, ("metadata.ini", f"Name = {NAME}"), apart=True
    ),
}
"""By the word of the command line."""


def install(
    program: str,
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    link: bool = False,
    dry_run: bool = False,
) -> Installed:
    """Put our pack into `folder`, where the program is.

    force: replace one of ours that is there;  link: make a link to the pack, which then changes with
    loralathe;  dry_run: only check.
    Raises InputError for a folder that is not the program's, and for anything in the way; MachineError where
    the folder cannot be written to.
    """
    if program not in PROGRAMS:
        fix = did_you_mean(program, PROGRAMS) or "use one of " + ", ".join(PROGRAMS)
        raise InputError(f"nothing can be installed into '{program}'", fix=fix)
    found = PROGRAMS[program]
    home = _home(found, Path(folder))
    target = home / found.packs / NAME
    exists = os.path.lexists(target)
    if exists and not _is_ours(found, target):
        raise InputError(
            "something else has this name", where=str(target), fix="move it away, or give it another name"
        )
    if exists and not force:
        raise InputError(
            "it is there already",
            where=str(target),
            fix=f"replace it with {option('force', True)}",
        )
    if not dry_run:
        try:
            _put(found, target, link)
        except OSError as error:
            raise MachineError(
                f"the pack could not be written: {error.strerror or error}",
                where=str(target),
                fix="links need a right of their own on Windows: copy it instead"
                if link
                else "check the disk and the folder",
            ) from error
    return Installed(program, target, link, exists, found.apart, _python(home), _source())


def _home(program: Program, folder: Path) -> Path:
    """The folder itself, or the program's own inside of it, as portable copies have it."""
    for place in (folder, folder / program.label):
        if program.is_there(place):
            return place
    if not folder.is_dir():
        raise InputError(
            "there is no such folder", where=str(folder), fix=f"name the folder of {program.label}"
        )
    raise InputError(
        f"this is not {program.label}'s folder",
        where=str(folder),
        fix=f"name the one with its {program.packs}",
    )


def _is_ours(program: Program, target: Path) -> bool:
    """Whether a folder holds this pack, of whatever version, or is a link that leads nowhere."""
    if target.is_symlink() and not target.exists():
        return True
    file, words = program.mark
    try:
        return words in (target / file).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _put(program: Program, target: Path, link: bool) -> None:
    """The pack beside its place, then at it: what is there is gone only when the new one is whole."""
    source = HERE / program.pack
    # Programs skip folders of this ending.
    fresh = Path(mkdtemp(prefix=f".{NAME}-", suffix=".disabled", dir=target.parent))
    try:
        made, old = fresh / "new", fresh / "old"
        if program.apart:
            _put_apart(source, made, link)
        elif link:
            made.symlink_to(source, target_is_directory=True)
        else:
            shutil.copytree(source, made, ignore=shutil.ignore_patterns(*LEFT_OUT))
        if os.path.lexists(target):
            target.rename(old)
        try:
            made.rename(target)
        except BaseException:
            if os.path.lexists(old):
                old.rename(target)
            raise
    finally:
        with suppress(OSError):
            if (fresh / "old").is_symlink():
                (fresh / "old").unlink()
        shutil.rmtree(fresh, ignore_errors=True)


def _put_apart(source: Path, made: Path, link: bool) -> None:
    """The pack's files, or links to them, with the door, and a note of where loralathe's Python is."""
    made.mkdir()
    files = {one.name: one for one in source.iterdir() if one.name != "__pycache__"}
    for name, file in {**files, DOOR: HERE / "door.py"}.items():
        if link:
            (made / name).symlink_to(file, target_is_directory=file.is_dir())
        elif file.is_dir():
            shutil.copytree(file, made / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
        else:
            shutil.copy2(file, made / name)
    lines = [sys.executable, str(HERE.parents[1])]
    (made / PYTHON_NOTE).write_text("\n".join(lines) + "\n", "utf-8")


def _python(home: Path) -> Path | None:
    """The program's own Python; this one, where it runs inside of the program's surroundings."""
    for parts in PYTHONS:
        if (found := home.joinpath(*parts)).exists():
            return Path(os.path.normpath(found))
    own = Path(sys.prefix)
    return Path(sys.executable) if own.is_relative_to(home.resolve()) else None


def _source() -> str:
    """The folder of the sources where loralathe runs from them, else the name that pip knows."""
    sources = HERE.parents[2]
    return str(sources) if (sources / "pyproject.toml").is_file() else NAME
