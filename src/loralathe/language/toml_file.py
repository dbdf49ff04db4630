"""TOML that people write: read with errors that help, and written."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from loralathe.errors import InputError, half_width, json_text
from loralathe.tensorfiles import LARGEST_BY_HAND, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover -- the same parser under its older name
    import tomli as tomllib

_WINDOWS_PATH = re.compile(r"""^(?P<line>[^#'\n]*"[A-Za-z]:\\(?!\\|u[0-9A-Fa-f]{4}).*)$""", re.MULTILINE)
"""`"C:\\temp"` with one backslash: TOML refuses it, or reads a tab where it says `\\t`."""
_LIKE_A_PATH = re.compile(r"""(?<="[A-Za-z]:)\\(["bfnrt])""")
_NUMBERED = {mark: f"\\u{ord(sign):04x}" for mark, sign in zip('"bfnrt', '"\b\f\n\r\t', strict=True)}
_OF_OPTIONS = re.compile("[\ufdd0-\ufdd2]")
"""What `errors.option` marks options in messages with: a recipe may be one."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """What a TOML file says; `kind` is what errors call it, such as 'recipe'.

    Raises InputError for a file that is missing, too large, or not TOML.
    """
    text = read_text(path, kind, LARGEST_BY_HAND)
    if drive := _WINDOWS_PATH.search(text):
        line = text.count("\n", 0, drive.end()) + 1
        raise InputError(
            "a backslash in double quotes begins a sign such as \\t, and no folder",
            where=f"{path}, line {line}: {drive['line'].strip()}",
            fix=r"put Windows paths in single quotes, 'C:\loras\hina.safetensors', or write them with /",
        )
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number of 5000 digits
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(
            f"the {kind} is not valid TOML: {reason}",
            where=str(path),
            fix="'=', quotes and brackets are half-width characters"
            if half_width(text) != text and _is_toml(half_width(text))
            else "texts stand in quotes, tables in [brackets]; see the example in the README",
        ) from None
    return found


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def toml_key(name: str) -> str:
    """A name as a key: quoted where it holds more than ASCII letters, digits, _ and -."""
    return name if _BARE.fullmatch(name) else toml_text(name)


def toml_text(value: str) -> str:
    """A basic string: JSON's escapes are TOML's. None looks like a Windows path or an option of ours."""
    text = _OF_OPTIONS.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text(value))
    return _LIKE_A_PATH.sub(lambda found: _NUMBERED[found[1]], text)
