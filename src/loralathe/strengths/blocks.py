"""Blocks as people name them: single names, selectors (`IN04-OUT02`, `NOT BASE`), lists by their length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from loralathe.errors import InputError
from loralathe.families import BASE, ENCODER_NAMES, Family, block_lists, shorthand
from loralathe.strengths.text import match_name, name_hint

SPELLINGS_OF_MID = ("M00", "MID00")


def canonical_block(name: str, family: Family, *, where: str) -> str:
    """`m00` → `MID`, `in04` → `IN04`. Raises InputError with close names for unknown blocks."""
    known = _spellings(family)
    found = match_name(name, known)
    if found is None:
        hint = name_hint(name, (*family.long_blocks, *known_text_encoders(family)))
        raise InputError(
            f"'{name.strip()}' is not a block of {family.label}",
            where=where,
            fix=hint or "blocks: " + shorthand(family.long_blocks),
        )
    return known[found]


@cache
def _spellings(family: Family) -> dict[str, str]:
    """What may be written → the block that it means."""
    found = {name: name for name in (*family.long_blocks, *known_text_encoders(family))}
    if "MID" in found:
        found |= dict.fromkeys(SPELLINGS_OF_MID, "MID")
    return found | {te.upper(): block for te, block in family.encoder_blocks.items() if block != BASE}


def known_text_encoders(family: Family) -> tuple[str, ...]:
    """TE1 and TE2 where text encoders share the block BASE; BASE where each has a block (CLIP, T5)."""
    return ENCODER_NAMES if BASE in family.long_blocks else (BASE,)


def names_blocks(token: str, family: Family) -> bool:
    """Whether `token` is a block, or a range of blocks: `IN04`, `IN04-OUT02`."""
    return all(match_name(end, _spellings(family)) for end in token.split("-"))


def component_of(module_name: str) -> str:
    """`te1.text_model.…` → `te1`; every canonical module name starts with its component."""
    return module_name.partition(".")[0]


def is_text_encoder(module_name: str) -> bool:
    return module_name.startswith("te")


def block_names_of(module_name: str, block: str | None) -> tuple[str, ...]:
    """Names under which a module can be addressed, the most specific first: `("TE1", "BASE")`."""
    component = component_of(module_name)
    if is_text_encoder(module_name):
        return (component.upper() if block in (None, BASE) else block, BASE)
    return () if block is None else (block,)


def split_selector(text: str) -> tuple[bool, tuple[str, ...]]:
    """(whether it begins with NOT, the words after it)."""
    words = tuple(text.split())
    negated = bool(words) and words[0].upper() == "NOT"
    return negated, words[1:] if negated else words


def select_blocks(text: str, family: Family, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Blocks that a selector names, in list order: `IN04 OUT00-OUT03`, `NOT BASE`.

    `names` is the list to choose from, the family's long list by default; one text encoder can always be
    chosen. Raises InputError for a block that is not in it.
    """
    order = family.long_blocks if names is None else tuple(names)
    negated, words = split_selector(text)
    chosen = {block for word in words for block in expand_blocks(word, family, order, where=f"'{text}'")}
    if negated:
        return tuple(name for name in order if name not in chosen)
    return tuple(name for name in (*order, *known_text_encoders(family)) if name in chosen)


def expand_blocks(word: str, family: Family, order: Sequence[str], *, where: str) -> tuple[str, ...]:
    """The blocks of one word of a selector: one, or those from one to the other, in either direction."""
    first, dash, last = word.partition("-")
    ends = [canonical_block(end, family, where=where) for end in ((first, last) if dash else (first,))]
    for end in ends:
        alone = end in known_text_encoders(family) and end not in order
        if alone and dash:
            fix = f"name {end} by itself"
            raise InputError(f"'{word}': {end} has no place in the order of blocks", where=where, fix=fix)
        if not alone and end not in order:
            raise InputError(f"block {end} is not in this list", where=" ".join(order))
    if not dash:
        return (ends[0],)
    low, high = sorted(order.index(end) for end in ends)
    return tuple(order[low : high + 1])


def lists_that_fit(family: Family) -> dict[int, tuple[str, ...]]:
    """Block names by list length: the family's short and long list, then those of others that it can read."""
    lists = (family.short_blocks, family.long_blocks, *family.also_accepts)
    return {len(names): names for names in lists}


def find_list(text: str, family: Family) -> tuple[str, ...] | None:
    """The list that `12ALL`, `26all` … names, the family's own before those of others; None for other texts.

    Raises InputError for another number.
    """
    number = text.strip().upper().removesuffix("ALL")
    if number == text.strip().upper() or not re.fullmatch(r"\d{1,4}", number, re.ASCII):
        return None
    own = lists_that_fit(family)
    if (names := (block_lists() | own).get(int(number))) is None:
        known = ", ".join(f"{length}ALL" for length in sorted(own))
        raise InputError(f"there is no block list '{text.strip()}'", fix=f"write {known}, or names of blocks")
    return names
