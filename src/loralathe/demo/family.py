"""The shipped parts of the tiny family, checked and put together: two bases, two LoRAs.

What both bases share (text encoders, autoencoder) is shipped once. `family.json` lists every part and both
assembled bases with their SHA-256, so that a damaged installation is told from a bug.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loralathe.errors import InputError, MachineError, option
from loralathe.progress import Progress
from loralathe.tensorfiles import content_hash, join_files, write_whole

DATA_VARIABLE = "LORALATHE_FAMILY"
"""Environment variable: another folder with the parts, for a family that is being trained."""

MANIFEST = "family.json"
AGAIN = "install loralathe again, or make the parts again with training.export"


@dataclass(frozen=True)
class TinyFamily:
    """The shipped files.

    folder: where the parts are.  parts: file name → SHA-256.
    bases:  file name of an assembled base → (the parts it is joined from, its SHA-256).
    adapters: file names of the LoRAs, which are parts as they are.  judge: the reader of attributes.
    """

    folder: Path
    parts: Mapping[str, str]
    bases: Mapping[str, tuple[tuple[str, ...], str]]
    adapters: tuple[str, ...]
    judge: str

    def part(self, name: str) -> Path:
        """Path of a part whose content is as it was shipped. Raises MachineError when it is not."""
        path = self.folder / name
        if not path.is_file():
            raise MachineError("a part of the tiny family is missing", where=str(path), fix=AGAIN)
        if content_hash(path) != self.parts[name]:
            raise MachineError("a part of the tiny family is damaged", where=str(path), fix=AGAIN)
        return path


def find_family(folder: Path | None = None) -> TinyFamily:
    """The family in `folder`, else in $LORALATHE_FAMILY, else the one in this package.

    Raises MachineError when there is none, or its list cannot be read.
    """
    folder = folder or Path(os.environ.get(DATA_VARIABLE) or Path(__file__).parent / "data")
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        bases = {name: (tuple(base["parts"]), str(base["sha256"])) for name, base in found["bases"].items()}
        return TinyFamily(folder, dict(found["parts"]), bases, tuple(found["adapters"]), str(found["judge"]))
    except OSError as error:
        raise MachineError(
            "the tiny family is not in this installation", where=str(path), fix=AGAIN
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MachineError(
            "the list of the tiny family's parts is damaged", where=str(path), fix=AGAIN
        ) from error


def unpack_family(
    folder: Path, family: TinyFamily | None = None, progress: Progress | None = None
) -> list[Path]:
    """Both bases and both LoRAs in `folder`, assembled and checked. Files that are there stay.

    Raises MachineError for missing or damaged parts, InputError for another file under one of the names.
    """
    family = family or find_family()
    folder.mkdir(parents=True, exist_ok=True)
    for name in family.adapters:
        if not _is_there(folder / name, family.parts[name]):
            write_whole(folder / name, family.part(name).read_bytes())
    for name, (parts, digest) in family.bases.items():
        if not _is_there(folder / name, digest):
            _assemble(folder / name, [family.part(part) for part in parts], digest, progress)
    return [folder / name for name in (*family.bases, *family.adapters)]


def unpack_judge(folder: Path, family: TinyFamily | None = None) -> Path:
    """The reader of the family's portraits, which cards are made with, in `folder`. One there stays."""
    family = family or find_family()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / family.judge
    if not _is_there(path, family.parts[family.judge]):
        write_whole(path, family.part(family.judge).read_bytes())
    return path


def _is_there(path: Path, digest: str) -> bool:
    if path.exists() and content_hash(path) != digest:
        raise InputError(
            "another file has a name that the tiny family needs",
            where=str(path),
            fix=f"choose another folder with {option('out')}, or remove the file",
        )
    return path.exists()


def _assemble(path: Path, parts: list[Path], digest: str, progress: Progress | None) -> None:
    join_files(parts, path, progress=progress)
    if content_hash(path, cache=False) != digest:
        path.unlink()
        raise MachineError(
            f"{path.name} was put together and has another content than the shipped one",
            where=", ".join(part.name for part in parts),
            fix="check the disk and memory of this machine; if they are well, this is a bug of ours",
        )
