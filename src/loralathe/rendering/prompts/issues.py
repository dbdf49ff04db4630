"""What is odd in a prompt: told with its place, never fatal, the rest of the prompt is unaffected."""

from __future__ import annotations

from dataclasses import dataclass

EXCERPT = 24


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that probably was not meant. `position` counts characters of the prompt it was found in."""

    position: int
    message: str
    excerpt: str = ""

    def __str__(self) -> str:
        near = f" (near '{self.excerpt}')" if self.excerpt else ""
        return f"prompt, character {self.position + 1}: {self.message}{near}"


def issue_at(text: str, position: int, message: str) -> Issue:
    """An Issue with the text around its place."""
    return Issue(position, message, text[position : position + EXCERPT])
