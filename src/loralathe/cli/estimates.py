"""--dry-run of pictures: size, steps, and about how much time and memory they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.cli.text import duration, size

if TYPE_CHECKING:
    from loralathe import Estimate


def estimate_rows(found: Estimate) -> list[tuple[str, str]]:
    """Labels and values, each saying how it is known; none where no picture is left to make."""
    if not found.pictures:
        return []
    rows = [("sizes" if len(found.sizes) > 1 else "size", ", ".join(found.sizes))] if found.sizes else []
    rows.append(("steps", f"{found.steps:,} in all"))
    if found.processes > 1:
        rows.append(("processes", str(found.processes)))
    time = found.time
    if time.seconds is not None:
        text = f"about {duration(time.seconds)} for the steps (measured here at {time.measured_at})"
        rows.append(("time", text))
    elif time.guess is not None:
        guess = duration(time.guess)
        text = f"about {guess} for the steps (a guess by the model's size, none was measured here yet)"
        rows.append(("time", text))
    if found.memory is not None:
        more = f", {size(found.memory.more)} for each more at once"
        where = "in main memory" if found.device == "cpu" else f"on {found.device}"
        rows.append(("memory", f"about {size(found.memory.one)} {where} for one picture{more} (computed)"))
    return rows
