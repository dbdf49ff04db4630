"""Commands as people type them: pages print whole ones, and the command line spells options in messages.

A word is quoted for the shells of the system: bash and zsh, or PowerShell and cmd.exe. All of them read
double quotes in the same way, unless the word holds a sign that one of them replaces within quotes.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping

from loralathe.errors import Value

_OTHER_NAMES = {
    "everything": "all",
    "hash_inputs": "hash",
    "hashes": "hash",
    "other_vae": "vae",
    "scorers": "scorer",
    "source": "from",
    "vae": "bake-vae",
    "variables": "set",
}
"""Options whose flag is not their name in `import loralathe`."""
SHORT = {"output": "-o", "multiplier": "-m"}


_PLAIN = re.compile(r"[\w./:+=-]+")
_REPLACED = frozenset('"\\$`!')
"""What bash reads as more than itself within double quotes."""


def quoted(word: str, system: str = os.name) -> str:
    """The word as the shells of a system (`os.name`) take it, in double quotes where it needs any.

    On Windows a program cuts its command line itself: backslashes before a quote count twice, and a quote is
    written twice.
    """
    windows = system == "nt"
    if _PLAIN.fullmatch(word.replace("\\", "/") if windows else word):
        return word
    if windows:
        inner = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + 2 * found[2], word)
        return f'"{inner}"'
    return shlex.quote(word) if _REPLACED & set(word) else f'"{word}"'


def as_flag(name: str, value: Value, system: str = os.name) -> str:
    """The command line's spelling of an option: `--rank 8`, `--allow-unmatched`, `--set M=0.7`."""
    word = _OTHER_NAMES.get(name, name.replace("_", "-"))
    flag = SHORT.get(name) or f"--{'no-' * (value is False)}{word}"
    if value is None or isinstance(value, bool):
        return flag
    if isinstance(value, Mapping):
        words = [f"{key}={one}" for key, one in value.items()]
    else:
        words = list(value) if isinstance(value, (list, tuple)) else [str(value)]
    return " ".join(f"{flag} {quoted(word, system)}" for word in words)


def command_line(command: str, *words: str, **options: Value) -> str:
    """`lathe COMMAND WORDS… --option value …`, each word quoted as this system's shells need it."""
    return command_for(os.name, command, words, options)


def command_for(system: str, command: str, words: Iterable[str], options: Mapping[str, Value]) -> str:
    """The same for the shells of a system, an `os.name`."""
    flags = (as_flag(name, value, system) for name, value in options.items() if value not in ({}, []))
    return " ".join(["lathe", command, *(quoted(word, system) for word in words), *flags])
