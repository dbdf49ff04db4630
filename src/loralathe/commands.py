"""Commands as people type them: pages print whole ones, and the command line spells options in messages."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from loralathe.errors import Value

_OTHER_NAMES = {
    "everything": "all",
    "hash_inputs": "hash",
    "hashes": "hash",
    "scorers": "scorer",
    "vae": "bake-vae",
    "variables": "set",
}
"""Options whose flag is not their name in `import loralathe`."""
SHORT = {"output": "-o", "multiplier": "-m"}


def as_flag(name: str, value: Value, quote: Callable[[str], str] = shlex.quote) -> str:
    """The command line's spelling of an option: `--rank 8`, `--allow-unmatched`, `--set M=0.7`."""
    word = _OTHER_NAMES.get(name, name.replace("_", "-"))
    flag = SHORT.get(name) or f"--{'no-' * (value is False)}{word}"
    if value is None or isinstance(value, bool):
        return flag
    words = [f"{key}={one}" for key, one in value.items()] if isinstance(value, Mapping) else [str(value)]
    return " ".join(f"{flag} {quote(word)}" for word in words)


def command_line(
    command: str, *words: str, quote: Callable[[str], str] = shlex.quote, **options: Value
) -> str:
    """`lathe COMMAND WORDS… --option value …`, each word quoted as it needs."""
    flags = (as_flag(name, value, quote) for name, value in options.items() if value != {})
    return " ".join(["lathe", command, *map(quote, words), *flags])
