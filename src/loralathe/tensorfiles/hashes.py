"""The hashes by which web UIs and trainers know a model file, over the bytes really on disk.

| name               | bytes hashed with SHA-256                                   | digits kept |
|--------------------|-------------------------------------------------------------|-------------|
| AutoV1             | [1 MiB, 1 MiB + 64 KiB) of the file                         | first 8     |
| AutoV2             | the whole file                                              | first 10    |
| sshs_model_hash    | the data section: all after the header, so free of metadata | all 64      |
| sshs_legacy_hash   | as AutoV1, of the file as if it had only `ss_*` metadata    | first 8     |

Sources: A1111 modules/sd_models.py and modules/hashes.py; kohya sd-scripts library/train_util.py. A range
that the file does not reach is hashed as far as it goes: small files all have e3b0c442, the hash of nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.errors import InputError, MachineError
from loralathe.progress import Progress
from loralathe.tensorfiles.atomic import write_whole
from loralathe.tensorfiles.folders import is_folder_model, model_files
from loralathe.tensorfiles.header import Header, encode_header
from loralathe.tensorfiles.input_files import open_regular, read_small
from loralathe.tensorfiles.positional import read_at
from loralathe.tensorfiles.reader import TensorFile
from loralathe.tensorfiles.user_folders import cache_folder

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

PathLike = str | os.PathLike[str]

LEGACY_START = 0x100000
LEGACY_LENGTH = 0x10000
_PIECE = 4 << 20
TICK = 2.0
"""Seconds: the coarsest clock of a disk's times, FAT's."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def autov1(path: PathLike) -> str:
    """A1111's first model hash: 8 hex digits over 64 KiB in the middle, of any file."""
    with open_regular(Path(path)) as file:
        end = min(os.fstat(file.fileno()).st_size, LEGACY_START + LEGACY_LENGTH)
        return _hash_range(file.fileno(), LEGACY_START, end, str(path)).hexdigest()[:8]


def content_hash(path: PathLike, *, cache: bool = True, progress: Progress | None = None) -> str:
    """SHA-256 of the whole file, 64 hex digits; AutoV2 is its first 10.

    Of a model in several files: of a line for each, in order of their names: `hash  unet/model.safetensors`.
    cache: remember it in the user's cache folder.
    """
    place = Path(path)
    if is_folder_model(place):
        folder = place if place.is_dir() else place.parent
        files = {file.relative_to(folder).as_posix(): file for file in model_files(place)}
        lines = (
            f"{content_hash(files[name], cache=cache, progress=progress)}  {name}\n" for name in sorted(files)
        )
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    with open_regular(Path(path)) as file:
        fd = file.fileno()
        before = os.fstat(fd)
        store = HashCache() if cache else None
        known = store.get(Path(path), before) if store else None
        if known is not None:
            return known
        found = _hash_range(fd, 0, before.st_size, str(path), progress=progress).hexdigest()
        if store and _key(Path(path), before) == _key(Path(path), os.fstat(fd)):
            store.put(Path(path), before, found)
        return found


def model_hash(path: PathLike) -> str:
    """`sshs_model_hash` (A1111's AutoV3): 64 hex digits over the data section of a safetensors file.

    A pickle has no data section; its hash is over the whole file, as in A1111.
    """
    with TensorFile(path) as file:
        return model_hash_of(file.fileno(), file.stored, str(path))


def legacy_hash(path: PathLike) -> str:
    """`sshs_legacy_hash`: 8 hex digits, see the table above.

    The header hashed is the one the official library writes for these tensors in this order with the file's
    own `ss_*` metadata, keys sorted. (Trainers' key order is arbitrary; it matters only above 1 MiB.)
    """
    with TensorFile(path) as file:
        return legacy_hash_of(file.fileno(), file.stored, file.stored.metadata, str(path))


def model_hash_of(fd: int, header: Header, where: str) -> str:
    """`model_hash` of an open file."""
    return _hash_range(fd, header.data_start, header.file_size, where).hexdigest()


def legacy_hash_of(fd: int, header: Header, metadata: Mapping[str, str], where: str) -> str:
    """`legacy_hash` of an open file that has, or will have, this metadata."""
    kept = {key: text for key, text in metadata.items() if key.startswith("ss_")}
    encoded = encode_header(header.tensors.values(), kept)
    digest = hashlib.sha256(encoded[LEGACY_START : LEGACY_START + LEGACY_LENGTH])
    # Where the range would lie in the file on disk, whose header has another length.
    shift = header.data_start - len(encoded)
    begin = max(LEGACY_START, len(encoded)) + shift
    end = min(LEGACY_START + LEGACY_LENGTH + shift, header.file_size)
    return _hash_range(fd, begin, end, where, digest=digest).hexdigest()[:8]


def _hash_range(
    fd: int,
    begin: int,
    end: int,
    where: str,
    *,
    progress: Progress | None = None,
    digest: Digest | None = None,
) -> Digest:
    """SHA-256 over bytes [begin, end) of a file, nothing when end <= begin; continues `digest` if given."""
    digest = digest or hashlib.sha256()
    total = max(end - begin, 0)
    buffer = memoryview(bytearray(min(_PIECE, total)))
    with (progress or Progress()).task(f"hashing {Path(where).name}", total) as task:
        while begin < end:
            piece = buffer[: end - begin]
            read_at(fd, piece, begin, where)
            digest.update(piece)
            begin += len(piece)
            task.advance(len(piece))
    return digest


class HashCache:
    """SHA-256 digests by resolved path; an entry counts while size, times and inode are the same.

    Hashing 7 GB takes seconds, looking at a file's date does not. A program can set that date back, but
    not the time of the last change of any sort (ctime). Files younger than a tick of the clock are not
    remembered: another write within it would leave no mark. Each hashed file has a small JSON file of its
    own, so runs side by side never write the same one. Where the cache is damaged, read-only or absent,
    hashes are computed again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        base = folder or cache_folder()
        self._folder = base / "hashes" if base else None

    def get(self, path: Path, status: os.stat_result) -> str | None:
        """The digest (64 hex digits) remembered for this very file, else None."""
        place = self._place(path)
        if place is None:
            return None
        try:
            entry = json.loads(read_small(place, "remembered hash"))
        except (InputError, OSError, ValueError, RecursionError):
            return None
        if not isinstance(entry, dict):
            return None
        digest = entry.pop("sha256", None)
        same_file = entry == _key(path, status)
        return digest if same_file and isinstance(digest, str) and _DIGEST.fullmatch(digest) else None

    def put(self, path: Path, status: os.stat_result, digest: str) -> None:
        """Remember a digest; nothing happens for a file that is new, and where nothing can be written."""
        place = self._place(path)
        if place is None or time.time() - max(status.st_mtime, status.st_ctime) < TICK:
            return
        text = json.dumps(_key(path, status) | {"sha256": digest})
        with suppress(MachineError):
            write_whole(place, text.encode("utf-8"))

    def _place(self, path: Path) -> Path | None:
        if self._folder is None:
            return None
        name = hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / f"{name[:32]}.json"


def _key(path: Path, status: os.stat_result) -> dict[str, object]:
    return {
        "path": os.path.realpath(path),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }
