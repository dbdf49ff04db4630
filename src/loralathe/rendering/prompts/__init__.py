"""Prompts as A1111 users write them, without its defects; pure and torch-free.

Order of reading: `<lora:…>` tags, AND, schedules, emphasis, tokens in chunks of 75.
"""

from loralathe.rendering.prompts.chunks import Chunk, cut_chunks
from loralathe.rendering.prompts.composable import Part, split_parts
from loralathe.rendering.prompts.emphasis import BREAK, Piece, parse_emphasis
from loralathe.rendering.prompts.issues import Issue
from loralathe.rendering.prompts.networks import TaggedPrompt, lift_tags
from loralathe.rendering.prompts.plan import PartPlan, PromptPlan, plan_prompt
from loralathe.rendering.prompts.schedule import expand_schedule

__all__ = [
    "BREAK",
    "Chunk",
    "Issue",
    "Part",
    "PartPlan",
    "Piece",
    "PromptPlan",
    "TaggedPrompt",
    "cut_chunks",
    "expand_schedule",
    "lift_tags",
    "parse_emphasis",
    "plan_prompt",
    "split_parts",
]
