"""`a cat :1.2 AND a dog`: several prompts that guide one image, each with its weight.

Liu et al. 2022, Compositional Visual Generation. Fixed here: a number at the end of a prompt without AND
is text (`16:9` stays), and AND inside brackets is a word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from loralathe.rendering.prompts.issues import Issue, issue_at

_AND = re.compile(r"\bAND\b")
_WEIGHTED = re.compile(r"(?P<text>.*?)\s*:\s*(?P<weight>[-+]?(?:\d+\.?\d*|\.\d+))\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the prompts joined by AND."""

    text: str
    weight: float = 1.0


def split_parts(prompt: str) -> tuple[tuple[Part, ...], list[Issue]]:
    """The prompts that AND joins; one part of weight 1 when there is no AND."""
    issues: list[Issue] = []
    cuts: list[tuple[int, int]] = []
    for match in _AND.finditer(prompt):
        if _depth(prompt, match.start()):
            issues.append(issue_at(prompt, match.start(), "AND inside brackets is read as a plain word"))
        else:
            cuts.append(match.span())
    if not cuts:
        return (Part(prompt),), issues
    starts = [0, *(end for _, end in cuts)]
    ends = [*(begin for begin, _ in cuts), len(prompt)]
    return tuple(_part(prompt[a:b].strip()) for a, b in zip(starts, ends, strict=True)), issues


def _part(text: str) -> Part:
    weighted = _WEIGHTED.match(text)
    return Part(weighted["text"], float(weighted["weight"])) if weighted else Part(text)


def _depth(text: str, place: int) -> int:
    """How many brackets around `place` are really closed later; an unclosed one encloses nothing."""
    closes = {")": "(", "]": "["}
    enclosing = 0
    pending: list[tuple[str, bool]] = []
    skip = False
    for index, char in enumerate(text):
        if skip or char == "\\":
            skip = not skip
            continue
        if char in "([":
            pending.append((char, index < place))
        elif char in closes:
            match = next((n for n in reversed(range(len(pending))) if pending[n][0] == closes[char]), None)
            if match is not None:
                _, before = pending.pop(match)
                enclosing += before and index >= place
    return enclosing
