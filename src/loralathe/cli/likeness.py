"""How like a card pictures are, as people see it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loralathe import counted, fixed
from loralathe.cli.language import Data
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts

if TYPE_CHECKING:
    from loralathe import Card, PictureLikeness


def show_likeness(screen: Screen, path: Path, card: Card, found: list[PictureLikeness]) -> None:
    """A line for each picture: likeness and verdict; the mean where there are several."""
    from loralathe import mean_likeness

    mean = mean_likeness(found)
    for one in found:
        screen.event("likeness", file=one.file, likeness=one.likeness, is_person=one.is_person)
    rows = [
        [
            str(one.file),
            "–" if one.likeness is None else fixed(one.likeness, 3),
            "nobody is seen" if one.likeness is None else "the person" if one.is_person else "somebody else",
        ]
        for one in found
    ]
    facts: list[tuple[str, str]] = [("card", Data(path)), ("threshold", fixed(card.threshold, 3))]
    if mean is not None and mean.high is not None:
        screen.event("mean", likeness=mean.mean, low=mean.low, high=mean.high, pictures=len(mean.values))
        facts.append(("mean", f"{fixed(mean.mean, 3)} ± {mean.high - mean.mean:.3f} (95 %)"))
    screen.result(
        heading(f"likeness of {counted(len(found), 'picture')}"),
        Facts(facts),
        "",
        Columns(["picture", "likeness", "verdict"], rows),
    )
