"""A picture's infotext for people, and as a line of JSON."""

from __future__ import annotations

from pathlib import Path

from loralathe.cli.layout import Facts
from loralathe.cli.screen import Screen, heading
from loralathe.errors import InputError


def show_picture(screen: Screen, path: Path, *, first: bool = True) -> None:
    """What a PNG says about how it was made, as A1111's PNG-info tab shows it."""
    from loralathe.rendering.infotext import png_text, read_infotext
    from loralathe.rendering.machine import library

    library("PIL")
    text = png_text(path)
    if text is None:
        raise InputError(
            "this picture does not say how it was made",
            where=str(path),
            fix="lathe and A1111 write it into their PNGs; a copy from a chat or a web page may have lost it",
        )
    found = read_infotext(text)
    screen.event(
        "picture", path=path, prompt=found.prompt, negative=found.negative, entries=dict(found.entries)
    )
    rows = [("Prompt", found.prompt), *([("Negative", found.negative)] if found.negative else [])]
    screen.result(*([] if first else [""]), heading(f"{path.name}: a picture"))
    screen.result(Facts([*rows, *found.entries.items()]))
