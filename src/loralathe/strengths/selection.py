"""--include and --exclude: which layers of an adapter take part, as element rules with the value 0.

A word is a block or a range of blocks (`IN04`, `IN04-OUT02`, `TE1`, `BASE`), or words of a layer's path
(`attn2`, `ff.net`), as in element rules. A layer is hit when any word hits it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from loralathe.families import is_block_word


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
