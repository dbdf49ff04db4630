"""`<lora:name:te:unet:lbw=…:lbwe=…:start=…:stop=…:step=…:x=…>`: adapters named in a prompt.

Items after the name stand in any order. Numbers in turn are the strength (both parts) and the U-Net's;
a further one, or the second when `lbw=` stands before it, is `x`. Words and lists in turn are block
weights and element rules; rules may also stand as they are, `lbwe=IN05-OUT05:attn:0`. Fixed here: `te=0`
zeroes the text encoders and nothing else, `stop=1` gives one step, `name:1:ALL` is read as it looks, and
one bad tag leaves the others alone.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from loralathe.errors import did_you_mean, half_width
from loralathe.rendering.prompts.issues import Issue, issue_at
from loralathe.rendering.request import AdapterUse
from loralathe.strengths.spec import joined_rules

_TAG = re.compile(r"<(\w+):([^<>]*)(>?)")
_WORDS = ("lora", "lyco")
_WIDE = re.compile(
    r"[<＜](?:lora|lyco)[:：][^<>＜＞]*[>＞]|（[^（）()]*[:：]\s*[0-9０-９.．]+\s*）", re.IGNORECASE
)
_WIDE_MARKS = frozenset("＜＞：＝")  # other full-width characters may belong to a name
_NAMED = ("te", "unet", "lbw", "w", "lbwe", "x", "start", "stop", "step", "dyn")


@dataclass(frozen=True, slots=True)
class TaggedPrompt:
    """A prompt without its tags, what the tags said in their order, and what was wrong with some."""

    prompt: str
    adapters: tuple[AdapterUse, ...]
    issues: tuple[Issue, ...]


class _TagError(Exception):
    """A tag that cannot be read; carries the offset of the bad item in the tag's arguments."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message


def lift_tags(prompt: str) -> TaggedPrompt:
    """Take the tags out of `prompt`. Text around them stays as it is; a bad tag is dropped with an issue."""
    adapters: list[AdapterUse] = []
    issues: list[Issue] = []

    def lift(match: re.Match[str]) -> str:
        word, arguments, closed = match.groups()
        if not closed:
            if word.lower() not in _WORDS:
                return match.group()
            message = f"'<{word}:' is never closed by '>'; it stays text"
            issues.append(issue_at(prompt, match.start(), message))
            return match.group()
        if word.lower() not in _WORDS:
            hint = did_you_mean(word, _WORDS)
            message = f"a tag '<{word}:…>' means nothing here and is left out" + (f"; {hint}" if hint else "")
            issues.append(issue_at(prompt, match.start(), message))
            return ""
        try:
            adapters.append(_read_tag(arguments))
        except _TagError as error:
            place = match.start(2) + error.offset
            issues.append(issue_at(prompt, place, f"the tag is left out: {error.message}"))
        return ""

    for found in _WIDE.finditer(prompt):
        if found[0].startswith("（") or _WIDE_MARKS & set(found[0]):
            message = f"full-width characters make no tag and no weight; write {half_width(found[0])}"
            issues.append(issue_at(prompt, found.start(), message))
    bare = _TAG.sub(lift, prompt)
    return TaggedPrompt(bare, tuple(adapters), tuple(issues))


@dataclass(slots=True)
class _Reading:
    """What the items of one tag have said so far."""

    te: float | None = None
    unet: float | None = None
    numbers: list[float] = field(default_factory=list)
    x: float | None = None
    blocks: str | None = None
    elements: str | None = None
    start: int | None = None
    stop: int | None = None


def _read_tag(arguments: str) -> AdapterUse:
    name, *parts = arguments.split(":")
    if not name.strip():
        raise _TagError(0, "it names no adapter")
    reading = _Reading()
    offset = len(name) + 1
    for item in joined_rules(parts):
        key, equals, value = item.partition("=")
        if equals and key.strip().lower() in _NAMED:
            _read_named(reading, key.strip().lower(), value.strip(), offset)
        elif equals and "," not in item:  # a list by name ("IN04=0.3,OUT00=1") has '=' of its own
            hint = did_you_mean(key.strip(), _NAMED)
            raise _TagError(offset, f"'{key.strip()}=' is not known" + (f"; {hint}" if hint else ""))
        else:
            _read_positional(reading, item.strip(), offset)
        offset += len(item) + 1
    both = reading.numbers[0] if reading.numbers else 1.0
    unet_alone = reading.numbers[1] if len(reading.numbers) > 1 else both
    return AdapterUse(
        name.strip(),
        te=both if reading.te is None else reading.te,
        unet=unet_alone if reading.unet is None else reading.unet,
        blocks=reading.blocks,
        elements=reading.elements,
        start=reading.start,
        stop=reading.stop,
        x=reading.x,
    )


def _read_named(reading: _Reading, key: str, value: str, offset: int) -> None:
    if not value:
        raise _TagError(offset, f"'{key}=' has no value")
    if key == "te":
        reading.te = _number(value, offset)
    elif key == "unet":
        reading.unet = _number(value, offset)
    elif key == "x":
        reading.x = _number(value, offset)
    elif key in ("lbw", "w"):
        reading.blocks = value
    elif key == "lbwe":
        reading.elements = value
    elif key == "start":
        reading.start = _step(value, offset)
    elif key == "stop":
        reading.stop = _step(value, offset)
    elif key == "step":
        begin, dash, end = value.partition("-")
        if not dash:
            raise _TagError(offset, f"'step={value}' is no range; write step=A-B")
        reading.start = _step(begin, offset) if begin.strip() else None
        reading.stop = _step(end, offset) if end.strip() else None
    else:
        raise _TagError(
            offset, f"'{key}=' (cutting the rank while rendering) is not supported; resize the file"
        )


def _read_positional(reading: _Reading, item: str, offset: int) -> None:
    if not item:
        raise _TagError(offset, "an item between two colons is empty")
    if "@" in item:
        raise _TagError(offset, f"'{item}': strengths that change with the step are written start= and stop=")
    number = _maybe_number(item)
    if number is None:
        if reading.blocks is None:
            reading.blocks = item
        elif reading.elements is None:
            reading.elements = item
        else:
            raise _TagError(offset, f"'{item}' is one item too many")
    elif len(reading.numbers) == 0 or (len(reading.numbers) == 1 and reading.blocks is None):
        reading.numbers.append(number)
    elif reading.x is None:
        reading.x = number
    else:
        raise _TagError(offset, f"'{item}' is one number too many")


def _maybe_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _number(text: str, offset: int) -> float:
    value = _maybe_number(text)
    if value is None:
        raise _TagError(offset, f"'{text}' is no number")
    return value


def _step(text: str, offset: int) -> int:
    if not text.strip().isdecimal():
        raise _TagError(offset, f"'{text}' is no step; steps are whole numbers from 0")
    return int(text)


def spell_tag(use: AdapterUse) -> str:
    """The tag that `lift_tags` reads back as `use` (named by file stem by the caller when it is a path)."""
    items = [use.file, _spell(use.te)]
    if use.unet != use.te:
        items.append(_spell(use.unet))
    named = {"lbw": use.blocks, "lbwe": use.elements, "x": use.x, "start": use.start, "stop": use.stop}
    for key, value in named.items():
        if value is not None:
            items.append(f"{key}={_spell(value) if isinstance(value, float) else value}")
    return f"<lora:{':'.join(items)}>"


def _spell(number: float) -> str:
    return f"{number:.10g}" if float(f"{number:.10g}") == number else repr(number)
