"""Prompts as A1111 users write them, without its defects; pure and torch-free.

Order of reading: `<lora:…>` tags, AND, schedules, emphasis, tokens in chunks of 75.
"""

from loralathe.rendering.prompts.plan import PartPlan, PromptPlan, expand_schedule, plan_prompt, split_parts
from loralathe.rendering.prompts.tags import lift_tags
from loralathe.rendering.prompts.text import (
    BREAK,
    TOKENS,
    Chunk,
    Issue,
    Unit,
    WeightedText,
    cut_chunks,
    parse_emphasis,
    told,
)

__all__ = [
    "BREAK",
    "TOKENS",
    "Chunk",
    "Issue",
    "PartPlan",
    "PromptPlan",
    "Unit",
    "WeightedText",
    "cut_chunks",
    "expand_schedule",
    "lift_tags",
    "parse_emphasis",
    "plan_prompt",
    "split_parts",
    "told",
]  # fmt: skip
