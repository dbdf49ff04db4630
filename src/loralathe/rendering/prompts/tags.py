"""`<lora:…>` tags in a prompt: found, taken out, and read as `strengths` reads them.

One bad tag is told and leaves the others alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from loralathe.errors import did_you_mean, half_width
from loralathe.rendering.prompts.text import Issue, issue_at
from loralathe.strengths import AdapterUse, TagError, read_tag

_TAG = re.compile(r"<(\w+):([^<>]*)(>?)")
_WORDS = ("lora", "lyco")
_WIDE = re.compile(
    r"[<＜](?:lora|lyco)[:：][^<>＜＞]*[>＞]|（[^（）()]*[:：]\s*[0-9０-９.．]+\s*）", re.IGNORECASE
)
_WIDE_MARKS = frozenset("＜＞：＝")  # other full-width characters may belong to a name


@dataclass(frozen=True, slots=True)
class TaggedPrompt:
    """A prompt without its tags, what the tags said in their order, and what was wrong with some."""

    prompt: str
    adapters: tuple[AdapterUse, ...]
    issues: tuple[Issue, ...]


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
            adapters.append(read_tag(arguments))
        except TagError as error:
            hint = f"; {error.fix}" if error.fix else ""
            place = match.start(2) + error.offset
            issues.append(issue_at(prompt, place, f"the tag is left out: {error.what}{hint}"))
        return ""

    for found in _WIDE.finditer(prompt):
        if found[0].startswith("（") or _WIDE_MARKS & set(found[0]):
            message = f"full-width characters make no tag and no weight; write {half_width(found[0])}"
            issues.append(issue_at(prompt, found.start(), message))
    bare = _TAG.sub(lift, prompt)
    return TaggedPrompt(bare, tuple(adapters), tuple(issues))
