"""Files that people give: opened, or refused with an error that says what the file is instead."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from loralathe.errors import InputError, MachineError, close_matches
from loralathe.tensorfiles.confined import require_readable
from loralathe.tensorfiles.file_names import stored_path
from loralathe.tensorfiles.positional import read_at

_PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
MODEL_SUFFIXES = (".safetensors", *_PICKLE_SUFFIXES, ".gguf")
"""What model files are called; their content decides how they are read."""
_PICTURE_MARKS = (b"\x89PNG\r\n", b"\xff\xd8\xff")
LARGEST_SMALL_FILE = 16 << 20
"""Bytes. A larger file was given by mistake."""
LARGEST_BY_HAND = 1 << 20
"""Bytes of what people write by hand, a thousand times what they write: reading more takes seconds."""
_TAR_MARK = slice(257, 262)
_CONVERT = "load it with the torch that wrote it, and save its state_dict() with a newer torch.save"
_DOWNLOAD = "download the model file itself"
"""Of a file that is called as models are."""
_CHOOSE = "give a model file, such as base.safetensors"


def check_is_file(path: Path, wanted: str = "") -> None:
    """InputError when `path` is missing (with close names), a folder, a device or a pipe.

    wanted: how to fix it, where the file need not be a model.
    """
    require_readable(path)
    try:
        mode = stored_path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("no such file", where=str(path), fix=_close_names(path)) from None
    except ValueError:
        raise InputError("not a path", where=repr(str(path)), fix="take out the NUL character") from None
    except OSError as error:
        raise InputError(
            f"cannot be opened: {error.strerror}", where=str(path), fix="check the path"
        ) from error
    if stat.S_ISDIR(mode):
        raise InputError("a folder, not a file", where=str(path), fix=wanted or _files_inside(path))
    if not stat.S_ISREG(mode):
        fix = wanted or "give the path of a model file"
        raise InputError("not a regular file", where=str(path), fix=fix)


def open_regular(path: Path, wanted: str = "") -> BinaryIO:
    """Open any file, unbuffered; errors as `check_is_file`, and when it may not be read."""
    check_is_file(path, wanted)
    try:
        return open(stored_path(path), "rb", buffering=0)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise MachineError(
                "no more files can be open at once",
                where=str(path),
                fix="close other programs, or raise the limit of open files (ulimit -n)",
            ) from error
        raise InputError(
            f"cannot be opened: {error.strerror}", where=str(path), fix="check the file's permissions"
        ) from error


def read_small(path: str | os.PathLike[str], kind: str, most: int = LARGEST_SMALL_FILE) -> bytes:
    """The bytes of a file of at most `most`; `kind` says in errors what it should be, such as 'recipe'."""
    place = Path(path)
    with open_regular(place, f"give the path of the {kind}") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise InputError(
                f"too large for a {kind}: more than {most >> 20} MB",
                where=str(place),
                fix="check the path",
            )
        data = bytearray(size)
        read_at(file.fileno(), memoryview(data), 0, str(place))
    return bytes(data)


def read_text(path: str | os.PathLike[str], kind: str, most: int = LARGEST_SMALL_FILE) -> str:
    """A UTF-8 text, with or without a byte-order mark; errors as `read_small`, and when it is not UTF-8."""
    data = read_small(path, kind, most)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the {kind} is not UTF-8 text (byte {error.start})", where=str(path), fix="save it as UTF-8"
        ) from error


def _close_names(path: Path) -> str:
    try:
        names = [entry.name for entry in os.scandir(path.parent) if not entry.is_dir()]
    except OSError:
        return f"the folder {path.parent} does not exist or cannot be listed"
    # Stems, or else the common suffix alone makes any two names look alike.
    stems = {Path(name).stem: name for name in names}
    close = [stems[stem] for stem in close_matches(path.stem, stems)]
    if not close:
        return "check the path and the spelling"
    return "did you mean " + " or ".join(f"'{name}'" for name in close) + "?"


def _files_inside(path: Path) -> str:
    try:
        models = sorted(child.name for child in path.iterdir() if child.suffix.casefold() in MODEL_SUFFIXES)
    except OSError:
        models = []
    if not models:
        return "give the path of one model file"
    shown = ", ".join(f"'{name}'" for name in models[:3])
    return f"name one of the files inside, such as {shown}"


def check_content(path: Path, start: bytes, size: int) -> None:
    """InputError when the first bytes show another format than ours (empty, a web page, text, …).

    start: the first 512 or more bytes of the file, fewer when it is shorter. size: of the file, in bytes.
    """
    where, suffix = str(path), path.suffix.casefold()
    fix = _DOWNLOAD if suffix in MODEL_SUFFIXES else _CHOOSE
    if size == 0:
        raise InputError("the file is empty", where=where, fix="download or copy it again")
    if start[_TAR_MARK] == b"ustar":
        raise InputError("a tar archive, as torch before 0.1.10 saved models", where=where, fix=_CONVERT)
    if start[4:8] == bytes(4):
        return  # the upper half of a possible header length, which no text or GGUF file has
    if start.startswith(b"version https://git-lfs"):
        pull = "run `git lfs pull`, or download the file itself"
        raise InputError("a Git LFS pointer, not the model", where=where, fix=pull)
    if start.startswith(_PICTURE_MARKS):
        raise InputError("a picture, not a model", where=where, fix=fix)
    if start.lstrip()[:1] == b"<":
        raise InputError("a web page, not a model", where=where, fix=fix)
    if size < 10:
        raise InputError(f"truncated: only {size} bytes", where=where, fix="download or copy it again")
    if _is_text(start):
        raise InputError("a text file, not a model", where=where, fix=fix)
    if suffix in _PICKLE_SUFFIXES:
        raise InputError("neither a file of torch.save nor of safetensors", where=where, fix=fix)


def is_pickle(start: bytes) -> bool:
    """Whether a file that starts so is a zip archive or a pickle, whatever it is called."""
    if start[:4] != b"PK\x03\x04" and (start[:1] != b"\x80" or start[1:2] not in b"\x02\x03\x04\x05"):
        return False
    # A safetensors header of such a length starts so, too, but a JSON object follows its length.
    return start[4:8] != bytes(4) or start[8:9] != b"{"


def _is_text(start: bytes) -> bool:
    try:
        # Incremental, because the last character may be cut.
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(character >= " " or character in "\t\r\n" for character in text)
