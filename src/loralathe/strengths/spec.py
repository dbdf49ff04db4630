"""An adapter on the command line: `PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y][:lbw=B][:lbwe=E]` (SEMANTICS §1).

Items after the path come in any order. Blocks and element rules stay text here: what they mean depends on the
model, which is not known yet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loralathe.errors import InputError, did_you_mean, spelling_hint
from loralathe.strengths.numbers import looks_like_number, parse_number
from loralathe.tensorfiles import MODEL_SUFFIXES

GRAMMAR = "PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y][:lbw=B][:lbwe=E]"
NAMED_ITEMS = ("te", "unet", "lbw", "lbwe")

_TAG = re.compile(r"<(?:lora|lyco):([^<>]+)>", re.IGNORECASE)
_STRENGTH = re.compile(r"[+-]?(\d?[.,]\d+|[01])")
_DRIVE = re.compile(r"[A-Za-z]")
BLOCK_WORD = r"(BASE|TE\d|CLIP|T5|MID\d*|M\d+|IN\d*|OUT\d*|D\d+|S\d+)"
_BLOCK_KEY = re.compile(rf"\*|{BLOCK_WORD}", re.IGNORECASE)
_BLOCK_FIELD = re.compile(rf"(NOT\s+)?{BLOCK_WORD}([\s-]+{BLOCK_WORD})*|NOT|", re.IGNORECASE)
_RULE_ENDS = re.compile(r"[,\n]")


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """What a person asked of one adapter; `blocks` and `elements` are names or lists as typed."""

    path: Path
    te: float = 1.0
    unet: float = 1.0
    blocks: str | None = None
    elements: str | None = None


def parse_spec(text: str, exists: Callable[[Path], bool] = os.path.isfile) -> AdapterSpec:
    """Reads one adapter argument; raises InputError for duplicate, unknown, empty or unusable items.

    The longest beginning of `text` that is an existing file is the path, so colons in folder names and
    `C:\\…` work. Without an existing file it is the longest beginning with a model suffix, else all
    before the first item.
    """
    parts = text.split(":")
    n = _parts_of_path(parts, exists)
    if not exists(Path(":".join(parts[:n]))):
        _refuse_what_is_no_path(text, exists)
    if not ":".join(parts[:n]).strip():
        raise InputError("an adapter without a path", where=f"'{text}'", fix=f"write {GRAMMAR}")
    found = _Items(where=f"'{text}'")
    for item in joined_rules(parts[n:]):
        found.add(item)
    return found.spec(Path(":".join(parts[:n])))


def _refuse_what_is_no_path(text: str, exists: Callable[[Path], bool]) -> None:
    """InputError for a tag, a strength on its own, and full-width colons: no file has such a name."""
    if tag := _TAG.search(text):
        raise InputError(
            "a tag belongs in a prompt",
            where=f"'{text}'",
            fix=f"here it is written {_spec_of_tag(tag[1])}",
        )
    if _STRENGTH.fullmatch(text):
        raise InputError(
            f"'{text}' is a strength, not a file",
            where="among the adapters",
            fix=f"it belongs to its adapter: hina.safetensors:{text.replace(',', '.')}",
        )
    parts = text.replace("：", ":").split(":")
    if "：" in text and exists(Path(":".join(parts[: _parts_of_path(parts, exists)]))):
        raise InputError("no such file", where=text, fix=spelling_hint(text))


def _spec_of_tag(inside: str) -> str:
    """`hina:1:0.5:lbw=OUTALL` as an argument: the second of two numbers is the U-Net's."""
    name, *items = inside.split(":")
    if len(items) > 1 and looks_like_number(items[0]) and looks_like_number(items[1]):
        items[:2] = items[:1] if items[0] == items[1] else [f"te={items[0]}", f"unet={items[1]}"]
    return ":".join([f"{name}.safetensors", *items])


def _parts_of_path(parts: Sequence[str], exists: Callable[[Path], bool]) -> int:
    """How many `:`-separated parts the path takes."""
    counts = range(len(parts), 0, -1)
    for n in counts:
        if parts[n - 1] and exists(Path(":".join(parts[:n]))):
            return n
    for n in counts:
        if parts[n - 1].lower().endswith(MODEL_SUFFIXES):
            return n
    has_drive = len(parts) > 1 and _DRIVE.fullmatch(parts[0]) and parts[1][:1] in ("\\", "/")
    return 2 if has_drive else 1


def joined_rules(items: Sequence[str]) -> list[str]:
    """Puts element rules together again: the `:` inside `lbwe=IN05-OUT05:attn:0` separates no items.

    Tags in prompts are read with it, too: both spell rules alike.

    `lbwe=` followed by block names (or by nothing) begins a rule of three fields; by another word, a preset.
    """
    joined: list[str] = []
    rest = list(items)
    while rest:
        item = rest.pop(0)
        key, _, value = item.partition("=")
        if key.strip().lower() == "lbwe" and _BLOCK_FIELD.fullmatch(value.strip()):
            fields = [item]
            more = True
            while more and rest:
                fields += rest[:2]
                del rest[:2]
                more = bool(_RULE_ENDS.search(fields[-1]))
            item = ":".join(fields)
        joined.append(item)
    return joined


class _Items:
    """Items collected so far; refuses what was given before."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._strength: dict[str, float] = {}
        self._text: dict[str, str] = {}

    def add(self, item: str) -> None:
        text = item.strip()
        key, equals, value = text.partition("=")
        if not text:
            raise InputError("an empty item between two ':'", where=self._where, fix=f"write {GRAMMAR}")
        if looks_like_number(text):
            self._put_strength("strength", text)
        elif not equals or self._names_blocks(key.strip(), value):
            self._put_text("block weights", text)
        else:
            self._add_named(key.strip(), value.strip())

    def _names_blocks(self, key: str, value: str) -> bool:
        several = "," in value and key.lower() not in NAMED_ITEMS
        return several or bool(_BLOCK_KEY.fullmatch(key))

    def _add_named(self, key: str, value: str) -> None:
        name = key.lower()
        if name not in NAMED_ITEMS:
            raise InputError(
                f"unknown item '{key}='",
                where=self._where,
                fix=did_you_mean(key, NAMED_ITEMS)
                or "items are te=, unet=, lbw=, lbwe=, a strength, and block weights",
            )
        if name in ("te", "unet"):
            self._put_strength(name, value)
        elif not value:
            raise InputError(f"{name}= is empty", where=self._where, fix=f"write {GRAMMAR}")
        else:
            self._put_text("block weights" if name == "lbw" else "element rules", value)

    def _put_strength(self, name: str, value: str) -> None:
        if name in self._strength:
            raise InputError(
                f"{name} is given twice",
                where=self._where,
                fix="one strength for all of it, te= and unet= for its two parts",
            )
        meaning = "strength" if name == "strength" else f"{name}="
        self._strength[name] = parse_number(value, meaning, where=self._where)

    def _put_text(self, name: str, value: str) -> None:
        if name in self._text:
            raise InputError(
                f"{name} are given twice: '{self._text[name]}' and '{value}'",
                where=self._where,
                fix="keep one of them",
            )
        self._text[name] = value

    def spec(self, path: Path) -> AdapterSpec:
        both = self._strength.get("strength", 1.0)
        return AdapterSpec(
            path,
            te=self._strength.get("te", both),
            unet=self._strength.get("unet", both),
            blocks=self._text.get("block weights"),
            elements=self._text.get("element rules"),
        )
