"""Small texts that people write: recipes, lists. Not devices, pipes, or models given by mistake."""

from __future__ import annotations

import os
from pathlib import Path

from loralathe.errors import InputError
from loralathe.tensorfiles.recognise import check_is_file

LONGEST = 16 << 20
"""Bytes. What people write by hand is a thousandth of it; what is longer is another file."""


def read_text(path: str | os.PathLike[str], kind: str) -> str:
    """A UTF-8 text, with or without a byte-order mark; `kind` says in errors what it should be.

    InputError when it is missing (close names are offered), no regular file, not UTF-8, or too long.
    """
    place = Path(path)
    check_is_file(place, f"give the path of the {kind}")
    try:
        with open(place, "rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise InputError(
            f"the {kind} cannot be read: {error.strerror}", where=str(place), fix="check the path"
        ) from error
    if len(data) > LONGEST:
        raise InputError(
            f"this is no {kind}: it has more than {LONGEST >> 20} MB", where=str(place), fix="check the path"
        )
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the {kind} is not UTF-8 text (byte {error.start})", where=str(place), fix="save it as UTF-8"
        ) from error
