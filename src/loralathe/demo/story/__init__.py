"""The article, chapter by chapter: each plays its part in the studio and tells what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loralathe.demo.material import Chapter
from loralathe.demo.story.blocks import find_blocks
from loralathe.demo.story.looking import cross_two, meet_family, try_strengths
from loralathe.demo.story.merging import merge_both_ways
from loralathe.demo.story.proof import prove
from loralathe.demo.story.subtracting import subtract
from loralathe.demo.story.travelling import add_difference, carry_over, extract_again
from loralathe.demo.studio import Studio

CHAPTERS: Mapping[str, Callable[[Studio], Chapter]] = {
    "family": meet_family,
    "strength": try_strengths,
    "cross": cross_two,
    "blocks": find_blocks,
    "merge": merge_both_ways,
    "subtract": subtract,
    "carry": carry_over,
    "difference": add_difference,
    "again": extract_again,
    "proof": prove,
}
"""In order; the keys are those of the report's words."""

__all__ = ["CHAPTERS"]
