"""The exception family: every message says what is wrong, where, and how to fix it.

`InputError` is the person's to mend (exit code 2), `MachineError` the machine's (exit code 3).
Anything else that reaches the top is a bug of ours (exit code 1).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence


class LatheError(Exception):
    """Base of all expected errors; `str(error)` is the text that a person sees.

    Parameters
    ----------
    what:  one sentence, what is wrong.
    where: file, key, block, position: whatever finds the place.
    fix:   what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)


class InputError(LatheError):
    """Something the person gave cannot be used: a file, an option, a formula."""

    exit_code = 2


class MachineError(LatheError):
    """The machine failed: disk full, out of memory, folder not writable."""

    exit_code = 3


MEMORY_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")
"""Words of torch's allocators, and of the libraries that a GPU's driver brings (cuBLAS, cuSOLVER, cuDNN)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whatever device: torch's errors of it have no class in common."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in MEMORY_SIGNS)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 tensor`, `2,515 tensors`, `2 axes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def few(names: Sequence[str], shown: int = 3) -> str:
    """`a, b, c and 7 more`."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


LONGEST = 1000
"""Characters that are shown of one line of an error."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """`text` for a terminal: control characters, which move the cursor or worse, as `\\x1b`.

    Files and their names come from anywhere, and errors and tables repeat what they say.
    """
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def readable(text: str) -> str:
    """`printable`, and no line longer than anybody reads: a damaged file may be one line of a megabyte."""
    lines = printable(text).split("\n")
    return "\n".join(line if len(line) <= LONGEST else f"{line[:LONGEST]}…" for line in lines)


def close_matches(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """The candidates most like `name`, best first; comparison ignores case."""
    by_folded: dict[str, str] = {}
    for candidate in candidates:
        by_folded.setdefault(candidate.casefold(), candidate)
    found = difflib.get_close_matches(name.casefold(), by_folded, n=limit, cutoff=0.6)
    return [by_folded[folded] for folded in found]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """`"did you mean 'x' or 'y'?"`, or an empty string when nothing is close."""
    found = close_matches(name, candidates)
    if not found:
        return ""
    return "did you mean " + " or ".join(f"'{match}'" for match in found) + "?"


_HALF_WIDTH = {0xFF01 + code: 0x21 + code for code in range(94)} | {
    ord(wide): narrow
    for wide, narrow in {"\u3000": " ", "、": ",", "。": ".", "×": "*", "−": "-", "–": "-"}.items()
}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def half_width(text: str) -> str:
    """Full-width forms, which Chinese input methods type, and typographic signs as ASCII: `：` as `:`."""
    return text.translate(_HALF_WIDTH)


def spelling_hint(text: str) -> str | None:
    """How to write `text` where ASCII and plain decimals are wanted; None when that is not its trouble."""
    narrow = half_width(text)
    plain = _PERCENT.sub(lambda match: f"{float(match[1]) / 100:.12g}", narrow)
    if plain == text:
        return None
    if plain != narrow:
        return f"shares are written without a percent sign: {plain}"
    return f"write it with half-width characters: {plain}"


_COLON = re.compile(r"\s*([^\W\d]\w*)\s*[:：]\s*([^\\/\s].*)", re.DOTALL)


def with_equals(text: str) -> str | None:
    """`NAME:VALUE`, as SuperMerger's text boxes take it, as `NAME=VALUE`; None for any other text."""
    match = _COLON.fullmatch(text)
    return f"{match[1]}={half_width(match[2])}" if match else None
