"""The exception family: every message says what is wrong, where, and how to fix it.

`InputError` is the person's to mend (exit code 2), `MachineError` the machine's (exit code 3).
Anything else that reaches the top is a bug of ours (exit code 1).

Messages name options as data: `option("rank", 8)`. Each door spells them its own way: Python `rank=8`, the
command line `--rank 8`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

__all__ = [
    "InputError", "LatheError", "MachineError", "Message", "about", "counted", "did_you_mean", "few", "inset",
    "is_out_of_memory", "json_text", "option", "printable", "readable", "spelling_hint", "whole",
    "with_equals",
]  # fmt: skip

Value = bool | int | float | str | Mapping[str, "str | float"] | Sequence[str] | None
"""What an option is set to; a mapping for those that are given by name; None where only its name is said."""
Spell = Callable[[str, Value], str]
"""How a door writes an option and its value."""

_OPTION = re.compile("\ufdd0([^\ufdd1]*)\ufdd1([^\ufdd2]*)\ufdd2")
"""Where a text names an option: the name and its value as JSON, between characters that no text holds."""


def option(name: str, value: Value = None) -> str:
    """An option inside a message, by its name in `import loralathe`; None says only the name.

    A value in capitals, such as FILE, stands for whatever the person has.
    """
    return f"\ufdd0{name}\ufdd1{json.dumps(value)}\ufdd2"


def as_keyword(name: str, value: Value) -> str:
    """Python's spelling: `rank=8`, `dtype="bf16"`, `variables={"M": 0.7}`, or the name alone."""
    if value is None:
        return name
    plain = isinstance(value, str) and value.isupper() and value.isalpha()
    return f"{name}={value if plain or isinstance(value, bool) else json.dumps(value, ensure_ascii=False)}"


class Message(str):
    """Text for people, its options spelled as in Python; `spelled` says it as another door would."""

    _raw: str

    def __new__(cls, text: str) -> Message:
        raw = text._raw if isinstance(text, Message) else text
        message = super().__new__(cls, _respelled(raw, as_keyword))
        message._raw = raw
        return message

    def spelled(self, spell: Spell) -> str:
        return _respelled(self._raw, spell)


def _respelled(text: str, spell: Spell) -> str:
    def spelled(found: re.Match[str]) -> str:
        try:
            return spell(found[1], json.loads(found[2]))
        except ValueError:  # not ours: messages repeat names of files, which may hold anything
            return found[0]

    return _OPTION.sub(spelled, text)


class LatheError(Exception):
    """Base of all expected errors; `str(error)` is the text that a person sees.

    Parameters
    ----------
    what:  one sentence, what is wrong.
    where: file, key, block, position: whatever finds the place.
    fix:   what to do about it.
    instead: a word as it was given → the words that were meant, for doors that show the corrected command.
    about: the option that holds what is wrong, for doors with a form; the text need not name it.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        instead: Mapping[str, Sequence[str]] | None = None,
        about: str | None = None,
    ) -> None:
        super().__init__(what)
        self.about = about
        self.instead = instead or {}
        self.what = Message(what)
        self.where = None if where is None else Message(where)
        self.fix = None if fix is None else Message(fix)

    def __str__(self) -> str:
        return self.text(as_keyword)

    def text(self, spell: Spell) -> str:
        """What a person sees, with options as `spell` writes them."""
        lines = [self.what.spelled(spell)]
        if self.where:
            lines.append(f"  where: {self.where.spelled(spell)}")
        if self.fix:
            lines.append(f"  fix:   {self.fix.spelled(spell)}")
        return "\n".join(map(inset, lines))


class InputError(LatheError):
    """Something the person gave cannot be used: a file, an option, a formula."""

    exit_code = 2


class MachineError(LatheError):
    """The machine failed: disk full, out of memory, folder not writable."""

    exit_code = 3


@contextmanager
def about(name: str) -> Iterator[None]:
    """Whatever is wrong in here stands in this option."""
    try:
        yield
    except InputError as error:
        error.about = name
        raise


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


def few(names: Sequence[str], shown: int = 3, separator: str = ", ") -> str:
    """`a, b, c and 7 more`."""
    rest = len(names) - shown
    return separator.join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


LONGEST = 1000
"""Characters that are shown of one line of an error."""
MOST_LINES, MOST_SIGNS = 20, 4000
"""Lines and characters that are shown of what is wrong, of where, and of how to mend it."""
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
"""Controls, marks of direction, signs of no width, and ends of lines that are none to most programs."""


def printable(text: str) -> str:
    """`text` for people: what moves the cursor, turns the text round or is not seen, as `\\x1b`, `\\u202e`.

    Files and their names come from anywhere, and errors and tables repeat what they say.
    """
    return _HIDDEN.sub(lambda match: _escape(match[0], "\\x{:02x}"), text)


def _escape(sign: str, short: str) -> str:
    code = ord(sign)
    return short.format(code) if code < 0x100 else f"\\u{code:04x}"


def whole(text: str) -> str:
    """`text` as UTF-8 can hold it: halves of characters spelt `\\udcff`, as names of files may have them."""
    return text.encode("utf-8", "backslashreplace").decode()


def json_text(value: object) -> str:
    """JSON in one line, what `printable` does not let through as escapes, which mean the same."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _HIDDEN.sub(lambda match: _escape(match[0], "\\u{:04x}"), text)


def inset(text: str) -> str:
    """`readable`, with its further lines set in: a name with a line break forges no line of ours."""
    lines, room = readable(text).split("\n"), MOST_SIGNS
    for number, line in enumerate(lines):
        room -= len(line)
        if number and (number == MOST_LINES or room < 0):  # of a damaged file, whose names may hold anything
            lines[number:] = ["…"]
            break
    first, *rest = lines
    return "\n".join([first, *(line if line.startswith("    ") else f"    {line}" for line in rest)])


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


_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\ufeff]")


def visible(text: str) -> str:
    """`text` without the characters that nobody can see."""
    return _INVISIBLE.sub("", text)


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
