"""A whole prompt, planned: which texts are needed, and which of them guides which step."""

from __future__ import annotations

from dataclasses import dataclass

from loralathe.rendering.prompts.composable import Part, split_parts
from loralathe.rendering.prompts.emphasis import parse_emphasis
from loralathe.rendering.prompts.issues import Issue
from loralathe.rendering.prompts.schedule import expand_schedule


@dataclass(frozen=True, slots=True)
class PartPlan:
    """One AND part: its weight and its text in every step."""

    weight: float
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """All parts of a prompt over `steps` steps, and what was odd in it."""

    parts: tuple[PartPlan, ...]
    issues: tuple[Issue, ...]

    def distinct_texts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text for part in self.parts for text in part.texts))


def plan_prompt(prompt: str, steps: int, *, composable: bool = True) -> PromptPlan:
    """Plan a prompt without tags. A negative prompt is not composable: its AND is a word."""
    parts, issues = split_parts(prompt) if composable else ((Part(prompt),), [])
    plans = []
    for part in parts:
        texts, odd = expand_schedule(part.text, steps)
        offset = prompt.find(part.text)
        issues += [Issue(issue.position + offset, issue.message, issue.excerpt) for issue in odd]
        plans.append(PartPlan(part.weight, texts))
    plan = PromptPlan(tuple(plans), ())
    for text in plan.distinct_texts():
        for issue in parse_emphasis(text)[1]:
            place = prompt.find(issue.excerpt)
            issues.append(Issue(max(place, 0), issue.message, issue.excerpt))
    return PromptPlan(tuple(plans), tuple(dict.fromkeys(issues)))
