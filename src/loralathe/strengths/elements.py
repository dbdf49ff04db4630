"""Element rules `blocks:elements:value`: set the weight of single layers, as LoRA Block Weight's `lbwe=`.

A selector of elements is a word, or words in the order of the module's path. The path is cut into words
at dots and underscores; a selector matches where its words stand side by side, and a word may leave out
the number behind it. So `attn` means attn1, attn2 and self_attn; `attn1_to_q` and `attn1.to_q` mean the
same; `proj` means proj_in, proj_out, ff.net.0.proj and q_proj; `ff` means the feed-forward layers and
nothing else. (LoRA Block Weight looks for substrings: there `ff` is also in every "diffusion".)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loralathe.errors import InputError, did_you_mean
from loralathe.strengths.blocks import (
    BlockFamily,
    block_names_of,
    canonical_block,
    component_of,
)
from loralathe.strengths.builtins import blocks_between
from loralathe.strengths.text import number_text, parse_number

NO_ELEMENT_PRESETS: Final[Mapping[str, str]] = {}

BUILTIN_ELEMENTS: Final[Mapping[str, str]] = {
    "ATTNDEEPON": "IN05-OUT05:attn:1",
    "ATTNDEEPOFF": "IN05-OUT05:attn:0",
    "PROJDEEPOFF": "IN05-OUT05:proj:0",
}

_WORD_ENDS = re.compile(r"[._]+")
_RULE_ENDS = re.compile(r"[,\n]")


@dataclass(frozen=True, slots=True)
class Selection:
    """`NOT a b`: what a field of a rule selects. Nothing named selects everything."""

    names: tuple[str, ...] = ()
    negated: bool = False

    def __str__(self) -> str:
        return " ".join((["NOT"] if self.negated else []) + list(self.names))


@dataclass(frozen=True, slots=True)
class ElementRule:
    """Modules in the selected blocks whose path holds a selected element weigh `value`; `str()` is canonical.

    `blocks` holds canonical block names, ranges spelt out.
    """

    blocks: Selection
    elements: Selection
    value: float

    def matches(self, module_name: str, block: str | None) -> bool:
        return self._in_blocks(module_name, block) and self._in_elements(module_name)

    def _in_blocks(self, module_name: str, block: str | None) -> bool:
        if not self.blocks.names:
            return not self.blocks.negated
        hit = any(name in self.blocks.names for name in block_names_of(module_name, block))
        return hit != self.blocks.negated

    def _in_elements(self, module_name: str) -> bool:
        if not self.elements.names:
            return not self.elements.negated
        path = module_words(module_name)
        hit = any(holds_words(path, words_of(selector)) for selector in self.elements.names)
        return hit != self.elements.negated

    def __str__(self) -> str:
        return f"{self.blocks}:{self.elements}:{number_text(self.value)}"


def words_of(text: str) -> list[str]:
    return [word for word in _WORD_ENDS.split(text.lower()) if word]


def module_words(module_name: str) -> list[str]:
    """Words of the path behind the component: `unet.input_blocks.4.0…` → input, blocks, 4, 0, …"""
    return words_of(module_name[len(component_of(module_name)) :])


def holds_words(path: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether `wanted` stands in `path` without gaps; `attn` finds attn1, `attn1` does not find attn2."""
    span = len(wanted)
    return any(
        all(_same_word(word, want) for word, want in zip(path[start : start + span], wanted, strict=True))
        for start in range(len(path) - span + 1)
    )


def _same_word(word: str, wanted: str) -> bool:
    return word == wanted or (wanted.isalpha() and word.rstrip("0123456789") == wanted)


def last_match(rules: Iterable[ElementRule], module_name: str, block: str | None) -> float | None:
    """Value of the last rule that matches; None when none does. It replaces the block weight."""
    found: float | None = None
    for rule in rules:
        if rule.matches(module_name, block):
            found = rule.value
    return found


def parse_elements(
    text: str, family: BlockFamily, presets: Mapping[str, str] = NO_ELEMENT_PRESETS
) -> tuple[ElementRule, ...]:
    """Rules from a preset name or `blocks:elements:value`, several separated by comma or newline.

    Raises InputError for unknown names and blocks and for rules without exactly three fields.
    """
    name = text.strip()
    source = presets.get(name, BUILTIN_ELEMENTS.get(name))
    if source is None:
        if ":" not in name:
            raise _unknown_preset(name, presets)
        source = name
    where = f"element rules '{name}'"
    rules = [rule for rule in _RULE_ENDS.split(source) if rule.strip()]
    return tuple(_parse_rule(rule, family, where) for rule in rules)


def _unknown_preset(name: str, presets: Mapping[str, str]) -> InputError:
    known = (*presets, *BUILTIN_ELEMENTS)
    return InputError(
        f"there are no element rules called '{name}'",
        fix=did_you_mean(name, known)
        or f"known names: {' '.join(dict.fromkeys(known))}; a rule is written blocks:elements:value",
    )


def _parse_rule(text: str, family: BlockFamily, where: str) -> ElementRule:
    fields = text.split(":")
    if len(fields) != 3:
        raise InputError(
            f"'{text.strip()}' is not an element rule",
            where=where,
            fix="write blocks:elements:value, for instance IN05-OUT05:attn:0; an empty field means all",
        )
    blocks, elements, value = fields
    rule_blocks = _selection(blocks)
    names = [name for token in rule_blocks.names for name in _expand(token, family, where)]
    return ElementRule(
        Selection(tuple(dict.fromkeys(names)), rule_blocks.negated),
        _element_selection(elements, where),
        parse_number(value, "value", where=where),
    )


def _selection(text: str) -> Selection:
    tokens = text.split()
    negated = bool(tokens) and tokens[0].upper() == "NOT"
    return Selection(tuple(tokens[1:] if negated else tokens), negated)


def _element_selection(text: str, where: str) -> Selection:
    selection = _selection(text)
    for token in selection.names:
        if not words_of(token):
            raise InputError(f"'{token}' names no element", where=where, fix="write words such as attn2.to_k")
    return selection


def _expand(token: str, family: BlockFamily, where: str) -> tuple[str, ...]:
    first, dash, last = token.partition("-")
    if not dash:
        return (canonical_block(token, family, where=where),)
    ends = [canonical_block(end, family, where=where) for end in (first, last)]
    for end in ends:
        if end not in family.long_blocks:
            raise InputError(
                f"'{token}': {end} has no place in the order of blocks",
                where=where,
                fix=f"name {end} by itself",
            )
    return blocks_between(ends[0], ends[1], family)
