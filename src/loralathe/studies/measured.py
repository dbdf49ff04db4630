"""Numbers of a study as a file keeps them: see `engine.measured`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loralathe.engine import Measured, MeasuredNumber
from loralathe.engine.measured import LONGEST, MOST_NUMBERS, MOST_PROMPTS
from loralathe.likeness.intervals import Estimate

CardFile = tuple[str, str]
"""Name of an identity card's file, and its SHA-256; "" twice where there is none."""
NO_CARD: CardFile = ("", "")


def measured_by(
    command: str,
    goals: Sequence[tuple[str, bool]],
    values: Sequence[Estimate | None],
    *,
    card: CardFile,
    seeds: Sequence[int],
    prompts: Sequence[str],
    base: str = "",
    strength: float | None = None,
) -> Measured | None:
    """What a study measured on these seeds, not yet bound to a recipe; None where it tells nothing.

    goals: (name, whether up is better), with a value for each.  base: a file, of which the name is kept.
    """
    numbers = tuple(
        MeasuredNumber(name[:LONGEST], up, value.mean, value.low, value.high, len(value.values))
        for (name, up), value in zip(goals, values, strict=True)
        if value is not None
    )[:MOST_NUMBERS]
    if not numbers or not seeds:
        return None
    name, digest = card
    return Measured(
        by=command,
        card=name[:LONGEST],
        card_sha256=digest,
        numbers=numbers,
        seeds=(min(seeds), max(seeds)),
        prompts=tuple(prompt[:LONGEST] for prompt in prompts[:MOST_PROMPTS]),
        base=Path(base).name[:LONGEST],
        strength=strength,
        of="",
    )
