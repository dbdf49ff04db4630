"""Names of blocks: their lists, the words that may be one, and how reports call and order what they count."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from loralathe.families.family import BASE, ENCODER_NAMES, FAMILIES, Family

NO_BLOCK = "no block"
VAE_LABEL = "VAE"
OTHER = "other"
_NUMBERED = re.compile(r"(?P<stage>[A-Z]+)\d\d")
_WORD = re.compile(r"(?P<stage>[A-Z]+)\d+", re.ASCII)


def all_block_lists() -> tuple[tuple[str, ...], ...]:
    """Every family's short and long list, the oldest family's first."""
    both = ((family.short_blocks, family.long_blocks) for family in FAMILIES)
    return tuple(dict.fromkeys(names for lists in both for names in lists))


def block_lists() -> dict[int, tuple[str, ...]]:
    """Block lists by their length, for text that names no family; of two as long the older family's."""
    found: dict[int, tuple[str, ...]] = {}
    for names in all_block_lists():
        found.setdefault(len(names), names)
    return dict(sorted(found.items()))


def is_block_word(word: str) -> bool:
    """Whether a word is the name of a block on some family, or would be with another number: `in4`, `D99`."""
    names, stages = _known_words(tuple(FAMILIES))
    upper = word.upper()
    numbered = _WORD.fullmatch(upper)
    return upper in names or (numbered is not None and numbered["stage"] in stages)


@lru_cache(maxsize=4)
def _known_words(families: tuple[Family, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Names of blocks, and words that stand before a number."""
    names = {BASE, *(name for family in families for name in family.long_blocks)}
    stages = {stage_of(name) for name in names if _NUMBERED.fullmatch(name)}
    return frozenset(names), frozenset({*stages, "TE", "MID", "M"})


def is_encoder_block(name: str) -> bool:
    """Whether it is a text encoder, or all of them: TE1, BASE, CLIP."""
    shared = {block for family in FAMILIES for block in family.encoder_blocks.values()}
    return name in {BASE, *ENCODER_NAMES} | shared


def stage_of(block: str) -> str:
    """IN of IN04, D of D00; names without two digits are a stage of their own: MID, T5, TE1."""
    numbered = _NUMBERED.fullmatch(block)
    return numbered["stage"] if numbered else block


def shorthand(names: Iterable[str]) -> str:
    """A list in few words: consecutive blocks of one stage are joined, 'BASE IN00…IN11 MID OUT00…OUT11'."""
    runs: list[list[str]] = []
    for name in names:
        if runs and _follows(runs[-1][-1], name):
            runs[-1].append(name)
        else:
            runs.append([name])
    return " ".join(f"{run[0]}…{run[-1]}" if len(run) > 2 else " ".join(run) for run in runs)


def _follows(before: str, name: str) -> bool:
    one, next_one = _NUMBERED.fullmatch(before), _NUMBERED.fullmatch(name)
    return bool(
        one and next_one and one["stage"] == next_one["stage"] and int(name[-2:]) == int(before[-2:]) + 1
    )


def label_of_key(family: Family, key: str) -> str:
    """`TE1`, `CLIP`, `IN04`, `no block`, `VAE`; `other` for keys of no component (marks, buffers)."""
    return block_label(family.component_of_key(key), family.block_of_key(key))


def label_of_module(family: Family, name: str) -> str:
    """The same for a module's canonical name."""
    return block_label(name.partition(".")[0], family.block_of_module(name))


def block_label(component: str | None, block: str | None) -> str:
    """Block of a component for reports: where all encoders share BASE, each under its own name."""
    if component is None:
        return OTHER
    if component.startswith("te"):
        return component.upper() if block in (None, BASE) else block
    return VAE_LABEL if component == "vae" else block or NO_BLOCK


def in_model_order(labels: Iterable[str], family: Family | None) -> list[str]:
    """Labels sorted as the model runs: encoders, input, middle, output, the rest."""
    return sorted(labels, key=lambda label: label_order(label, family))


def label_order(label: str, family: Family | None) -> tuple[int, str]:
    """Sort key of `in_model_order`."""
    places = _label_places(family)
    return places.get(label, len(places)), label


@lru_cache(maxsize=4)
def _label_places(family: Family | None) -> dict[str, int]:
    long_blocks = family.long_blocks if family else ()
    order = (*ENCODER_NAMES, *long_blocks, NO_BLOCK, VAE_LABEL, OTHER)
    return {label: number for number, label in enumerate(order)}


def component_name(component: str | None, family: Family) -> str:
    """A network in words: U-Net, transformer, text encoder 1, VAE."""
    return next((one.label for one in family.components if one.id == component), OTHER)


def common_prefixes(keys: Iterable[str], most: int = 10, deepest: int = 4) -> dict[str, str]:
    """Key to a short group name, for files of unknown kind: as many path parts as give a readable list.

    Parts are added while all keys share them, or while the groups stay few.
    """
    keys = list(keys)
    depth = 1
    while depth < deepest and len({_cut(key, depth) for key in keys}) == 1:
        depth += 1
    while depth < deepest and len({_cut(key, depth + 1) for key in keys}) <= most:
        depth += 1
    return {key: _cut(key, depth) for key in keys}


def _cut(key: str, depth: int) -> str:
    """The first `depth` parts of a key, its last part (`weight`) never among them."""
    parts = key.split(".")
    return ".".join(parts[: max(1, min(depth, len(parts) - 1))])
