"""Presets: block weights and element rules by name, built in or the person's own, and LBW's preset files.

Built-in block presets are defined by block names and not by lists, so that they mean the same on every list
length. LoRA Block Weight stores them as 17 places of SD 1 and fills the rest with zeros: its `ALL` switches
off OUT00–OUT02 of SDXL. Here every block of the family has a value (SEMANTICS §2).

Files in the wild hold broken lines; the good ones are used and the others reported with their line numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from loralathe.errors import InputError, option, spelling_hint
from loralathe.families import BASE, FAMILIES, Family, block_lists
from loralathe.strengths.blocks import expand_blocks
from loralathe.strengths.text import looks_like_number, match_name, name_hint
from loralathe.strengths.tokens import is_token
from loralathe.tensorfiles import LARGEST_BY_HAND, read_text

NO_PRESETS: Mapping[str, str] = MappingProxyType({})
UNIFORM: Mapping[str, str] = MappingProxyType({"ALL": "1", "NONE": "0", "ALL0.5": "0.5"})


def builtin_names(family: Family) -> tuple[str, ...]:
    return (*UNIFORM, *family.presets)


def find_preset(text: str, family: Family, own: Mapping[str, str] = NO_PRESETS) -> str | None:
    """The name of the block preset that `text` means, the person's own or a built-in one; else None."""
    return match_name(text, (*own, *builtin_names(family)))


def preset_blocks(name: str, family: Family) -> tuple[tuple[str, str], ...]:
    """(block, weight as text) of a built-in preset, for every block of the family's long list."""
    if name in UNIFORM:
        return tuple((block, UNIFORM[name]) for block in family.long_blocks)
    order = family.long_blocks
    ranges = [expand_blocks("-".join(ends), family, order, where=name) for ends in family.presets[name]]
    on = {BASE}.union(*ranges)
    return tuple((block, "1" if block in on else "0") for block in family.long_blocks)


def spelled_out(text: str | None, family: Family, own: Mapping[str, str]) -> str | None:
    """The person's own preset as its list, a built-in one by its name, any other text as it is."""
    name = find_preset(text, family, own) if text else None
    return text if name is None else own.get(name, name)


def unknown_preset(name: str, family: Family, own: Mapping[str, str]) -> InputError:
    """The error for a name of block weights that is not known."""
    if looks_like_number(name):
        return InputError(
            f"'{name}' is one number, not block weights",
            fix=f"*={name} gives every block that weight; a strength goes without lbw=",
            about="adapters",
        )
    if not match_name(name, family.presets) and any(match_name(name, other.presets) for other in FAMILIES):
        some = f"{family.short_blocks[0]}=0.5,{family.short_blocks[-1]}=1,*=0"
        return InputError(
            f"there are no block weights called '{name}' on {family.label}",
            fix=f"stages (INS, MIDD, OUTALL …) are those of U-Nets; name blocks: {some}",
            about="adapters",
        )
    known = (*own, *builtin_names(family))
    words = name.split() if all(map(looks_like_number, name.split())) else []
    separated = f"weights are separated by commas: {','.join(words)}" if len(words) > 1 else ""
    return InputError(
        f"there are no block weights called '{name}'" if name else "block weights are empty",
        fix=name_hint(name, known)
        or separated
        or f"known names: {' '.join(dict.fromkeys(known))}; "
        f"define one with {option('blocks', {'NAME': 'LIST'})}",
        about="adapters",
    )


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


def with_preset(content: str, name: str, text: str | None) -> str:
    """A preset file's content with this list added, replaced or (None) removed; other lines stay.

    Raises InputError for what would not be read back.
    """
    name = name.strip()
    if not name or set(name) & set(":,=#") or len(name.splitlines()) > 1:
        raise InputError("this cannot be the name of a list", fix="use one line without : , = and #")
    lines = content.splitlines(keepends=True)
    kept = "".join(line for line in lines if line.partition(":")[0].strip() != name)
    if text is None:
        return kept
    line = f"{name}:{text.strip()}"
    why = _why_unusable(line, name, text.strip())
    if why is None and len(line.splitlines()) > 1:
        why = "a list is one line"
    if why is not None:
        raise InputError(f"'{name}' cannot be kept: {why}", fix="write weights: 1,0,0.5,…, or IN04=0.5,*=0")
    ended = kept if kept.endswith("\n") or not kept else f"{kept}\n"
    return f"{ended}{line}\n"


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
    if not bad:
        return None
    hint = spelling_hint(bad[0])
    return f"'{bad[0]}' is not a number" + (f" ({hint})" if hint else "")


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
    return read_text(path, "preset file", LARGEST_BY_HAND).splitlines()
