"""Preset files of LoRA Block Weight: `lbwpresets.txt` (a line is name:list), `elempresets.txt` (name:rules).

Files in the wild hold broken lines; the good ones are used and the others reported with their line numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loralathe.errors import InputError
from loralathe.families import block_lists
from loralathe.strengths.text import looks_like_number
from loralathe.strengths.tokens import is_token
from loralathe.tensorfiles import read_text


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that was not used as it stands. `line` counts from 1."""

    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}: {self.text}"


@dataclass(frozen=True, slots=True)
class PresetFile:
    """Presets by name, as text for `parse_block_weights` or `parse_elements`, and what could not be used."""

    path: Path
    presets: Mapping[str, str] = field(hash=False)
    problems: tuple[Problem, ...]


def parse_preset_option(text: str) -> tuple[str, str]:
    """`--blocks NAME=LIST` → (name, list); the list is judged where it is used, when the family is known."""
    name, equals, values = (part.strip() for part in text.partition("="))
    if not (name and equals and values) or "," in name:
        raise InputError(
            "a block preset needs a name and a list",
            where=f"'{text}'",
            fix="write NAME=LIST, for instance HinaBlock=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1",
        )
    return name, values


def read_preset_file(path: Path) -> PresetFile:
    """Block presets, one a line: `name:list`. A line with `#` is a comment; a later name wins, as there.

    Raises InputError when the file cannot be read as text.
    """
    presets: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(_lines(path), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, _, values = (part.strip() for part in text.partition(":"))
        why = _why_unusable(text, name, values)
        if why is None and name in presets:
            problems.append(Problem(number, text, f"replaces an earlier preset '{name}'"))
        if why is None:
            presets[name] = values
        else:
            problems.append(Problem(number, text, why))
    return PresetFile(path, presets, tuple(problems))


def _why_unusable(text: str, name: str, values: str) -> str | None:
    """None for a usable line."""
    if "#" in text:
        return "'#' makes the whole line a comment"
    if ":" not in text:
        return "no ':' between name and list"
    if not name or "," in name or "=" in name:
        return "no usable name before ':'"
    if "=" in values:
        return None
    items = values.split(",")
    if len(items) not in block_lists():
        return f"{len(items)} weights; lists have " + ", ".join(map(str, block_lists()))
    bad = [item.strip() for item in items if not (looks_like_number(item) or is_token(item))]
    return f"'{bad[0]}' is not a number" if bad else None


def read_element_preset_file(path: Path) -> PresetFile:
    """Element presets, `name:blocks:elements:value`; more rules after commas or on further lines; a blank
    line ends a preset.

    Raises InputError when the file cannot be read as text.
    """
    presets: dict[str, str] = {}
    problems: list[Problem] = []
    paragraph: list[str] = []
    start = 1
    for number, line in enumerate([*_lines(path), ""], start=1):
        if line.strip():
            start = start if paragraph else number
            paragraph.append(line.strip())
        elif paragraph:
            _add_element_preset(paragraph, start, presets, problems)
            paragraph = []
    return PresetFile(path, presets, tuple(problems))


def _add_element_preset(
    paragraph: list[str], start: int, presets: dict[str, str], problems: list[Problem]
) -> None:
    name, _, first = (part.strip() for part in paragraph[0].partition(":"))
    rules = [rule for line in (first, *paragraph[1:]) for rule in line.split(",") if rule.strip()]
    bad = [rule for rule in rules if rule.count(":") != 2]
    if not name or not rules or bad:
        why = f"'{bad[0].strip()}' is not blocks:elements:value" if bad else "no name:blocks:elements:value"
        problems.append(Problem(start, paragraph[0], why))
        return
    if name in presets:
        problems.append(Problem(start, paragraph[0], f"replaces an earlier preset '{name}'"))
    presets[name] = ",".join(rule.strip() for rule in rules)


def _lines(path: Path) -> list[str]:
    return read_text(path, "preset file").splitlines()
