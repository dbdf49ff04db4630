"""What is odd in a prompt: told with its place, never fatal, the rest of the prompt is unaffected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loralathe.errors import readable

EXCERPT = 24
SHOWN = 10
"""How many issues are told: more are one mistake made again and again."""


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that probably was not meant. `position` counts characters of the prompt it was found in."""

    position: int
    message: str
    excerpt: str = ""

    def __str__(self) -> str:
        near = f" (near '{self.excerpt}')" if self.excerpt else ""
        return f"prompt, character {self.position + 1}: {self.message}{near}"


def told(issues: Iterable[Issue]) -> list[str]:
    """A line for each different issue, and how many there are beyond SHOWN."""
    lines = list(dict.fromkeys(readable(str(issue)) for issue in issues))
    rest = len(lines) - SHOWN
    return lines[:SHOWN] + ([f"and {rest} more remarks on the prompt"] if rest > 0 else [])


def issue_at(text: str, position: int, message: str) -> Issue:
    """An Issue with the text around its place."""
    return Issue(position, message, text[position : position + EXCERPT])
