"""Bleed: how far a LoRA changes the people of the base where nobody asked for its own.

For each cell two pictures of the cell's seed are compared, both of its prompt without the trigger words: one
by the base, one as the cell is made. The base is the cell's checkpoint without any LoRA; in a study of a
recipe, the reference cell's model. Bleed is 1 − the cosine of who is in the two: 0 where the same person is
drawn, 1 where nobody is seen any more; there is none where the base itself shows nobody.
"""

from __future__ import annotations

import re
from dataclasses import replace

from loralathe.errors import InputError
from loralathe.studies.plan import Beside, Cell, GridPlan, Identify, Job, Position, request_key

_EMPTY_EMPHASIS = re.compile(r"[(\[]\s*(?::\s*[+-]?[\d.]+)?\s*[)\]]")


def without_trigger(prompt: str, trigger: str) -> str:
    """The prompt without the trigger words, which commas part; emphasis and commas that held nothing else
    go.
    """
    left = prompt
    for words in filter(None, (part.strip() for part in trigger.split(","))):
        spaced = r"\s+".join(map(re.escape, words.split()))
        start = r"(?<!\w)" if words[0].isascii() else ""
        end = r"(?!\w)" if words[-1].isascii() else ""
        left = re.sub(f"{start}{spaced}{end}", "", left, flags=re.IGNORECASE)
    if left == prompt:
        return prompt
    while (bare := _EMPTY_EMPHASIS.sub("", left)) != left:
        left = bare
    parts = [" ".join(part.split()) for part in left.split(",")]
    return ", ".join(filter(None, parts))


def pictures_beside(
    plan: GridPlan,
    trigger: str,
    identify: Identify,
    recipe: str | None,
    reference: Position,
    *,
    drawn_by: str = "",
) -> Beside:
    """The pictures that bleed needs, none of them twice. recipe: identity of a recipe that makes the weights.

    drawn_by: as for `request_key`.

    Raises InputError without trigger words: a prompt that still names the character says nothing of bleed.
    """
    if not trigger.strip():
        raise InputError(
            "the card names no trigger words, and bleed is what happens without them",
            fix="make the card again with the words that call the person in prompts",
        )
    jobs: dict[str, Job] = {}
    pairs: dict[Position, tuple[str, str]] = {}
    references = plan.references(reference)

    def job(cell: Cell, *, adapted: bool, like: Cell) -> str:
        uses = cell.request.adapters if adapted or recipe is not None else ()
        words = without_trigger(like.request.prompt, trigger)
        request = replace(cell.request, prompt=words, adapters=uses)
        key = request_key(request, identify, recipe, cell.variables, drawn_by=drawn_by)
        jobs.setdefault(key, Job(key, request, cell.variables, ()))
        return key

    for cell in plan.cells:
        base = cell if recipe is None else plan.cell(references[cell.position])
        pairs[cell.position] = (
            job(base, adapted=False, like=cell),
            job(cell, adapted=True, like=cell),
        )
    own = {one.key for one in plan.jobs}
    return Beside(tuple(one for key, one in jobs.items() if key not in own), pairs)
