"""Element rules `blocks:elements:value`: set the weight of single layers, as LoRA Block Weight's `lbwe=`.

A selector of elements is a word, or words in the order of the module's path. The path is cut into words
at dots and underscores; a selector matches where its words stand side by side, and a word may leave out
the number behind it. So `attn` means attn1, attn2 and self_attn; `attn1_to_q` and `attn1.to_q` mean the
same; `proj` means proj_in, proj_out, ff.net.0.proj and q_proj; `ff` means the feed-forward layers and
nothing else. (LoRA Block Weight looks for substrings: there `ff` is also in every "diffusion".)

--include and --exclude are element rules with the value 0: a word of theirs is a block or a range of blocks
(`IN04`, `IN04-OUT02`, `TE1`, `BASE`), or words of a layer's path. A layer is hit when any word hits it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from loralathe.errors import InputError, visible
from loralathe.families import FAMILIES, Family, is_block_word
from loralathe.strengths.blocks import block_names_of, component_of, expand_blocks, split_selector
from loralathe.strengths.presets import NO_PRESETS
from loralathe.strengths.text import match_name, name_hint, number_text, parse_number

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
    text: str, family: Family, presets: Mapping[str, str] = NO_PRESETS
) -> tuple[ElementRule, ...]:
    """Rules from a preset name or `blocks:elements:value`, several separated by comma or newline.

    Raises InputError for unknown names and blocks and for rules without exactly three fields.
    """
    where = f"element rules '{visible(text).strip()}'"
    source = element_text(text, family, presets)
    rules = [rule for rule in _RULE_ENDS.split(source) if rule.strip()]
    return tuple(_parse_rule(rule, family, where) for rule in rules)


def element_text(text: str, family: Family, presets: Mapping[str, str] = NO_PRESETS) -> str:
    """The rules of the preset that `text` names, or `text` where it is rules; InputError for neither."""
    name = visible(text).strip()
    known = {**family.element_presets, **presets}
    found = match_name(name, known)
    if found is None and ":" not in name:
        listed = " ".join(dict.fromkeys((*presets, *family.element_presets)))
        raise InputError(
            f"there are no element rules called '{name}'",
            fix=name_hint(name, known) or f"known names: {listed}; a rule is written blocks:elements:value",
            about="adapters",
        )
    return name if found is None else visible(known[found])


def _parse_rule(text: str, family: Family, where: str) -> ElementRule:
    fields = text.split(":")
    if len(fields) != 3:
        raise InputError(
            f"'{text.strip()}' is not an element rule",
            where=where,
            fix="write blocks:elements:value, for instance IN05-OUT05:attn:0; an empty field means all",
        )
    blocks, elements, value = fields
    negated, words = split_selector(blocks)
    names = [name for word in words for name in expand_blocks(word, family, family.long_blocks, where=where)]
    return ElementRule(
        Selection(tuple(dict.fromkeys(names)), negated),
        _element_selection(elements, where),
        parse_number(value, "value", where=where),
    )


def _element_selection(text: str, where: str) -> Selection:
    negated, selectors = split_selector(text)
    known = _words_of_layers(tuple(FAMILIES))
    for selector in selectors:
        words = words_of(selector)
        unknown = [word for word in words if not (word in known or word.isdecimal())]
        if unknown or not words:
            odd = unknown[0] if unknown else selector
            fix = name_hint(odd, sorted(known)) or "write words such as attn2.to_k or ff"
            raise InputError(f"no layer has '{odd}' in its name", where=where, fix=fix)
    return Selection(selectors, negated)


@lru_cache(maxsize=4)
def _words_of_layers(families: tuple[Family, ...]) -> frozenset[str]:
    """Words of the paths of all layers, with and without the numbers behind them."""
    names = (entry.name for family in families for part in family.components for entry in part.table.layers)
    words = {word for name in names for word in words_of(name)}
    return frozenset(words | {word.rstrip("0123456789") for word in words} | {"bias"})


def selection_rules(include: Sequence[str], exclude: Sequence[str]) -> str | None:
    """Element rules that leave only what `include` hits, without what `exclude` hits; None for all.

    Each text holds words parted by spaces or commas: `IN04 attn2` keeps block IN04 and every attn2.
    """
    rules = []
    blocks, names = _sorted_words(include)
    if blocks or names:
        rules.append(f"{_unless(blocks)}:{_unless(names)}:0")
    blocks, names = _sorted_words(exclude)
    if blocks:
        rules.append(f"{' '.join(blocks)}::0")
    if names:
        rules.append(f":{' '.join(names)}:0")
    return ",".join(rules) or None


def _unless(words: Sequence[str]) -> str:
    return f"NOT {' '.join(words)}" if words else ""


def _sorted_words(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Blocks, and names."""
    words = [word for text in texts for word in re.split(r"[\s,]+", text) if word]
    blocks = [word for word in words if all(map(is_block_word, word.split("-", 1)))]
    return blocks, [word for word in words if word not in blocks]
