"""Numbers of a study as a file keeps them: see `engine.measured`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loralathe.engine import Measured, MeasuredNumber
from loralathe.engine.measured import LONGEST, MOST_NUMBERS, MOST_PROMPTS
from loralathe.likeness.intervals import Estimate
from loralathe.rendering.request import REQUEST_VERSION, ImageRequest
from loralathe.strengths import AdapterUse
from loralathe.studies.card_scores import BLEED, LIKENESS
from loralathe.studies.plan import file_identity, request_key

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


@dataclass(frozen=True)
class MeasuredCell:
    """A cell of a grid, or its cells that differ by seed only: what was drawn, and what a card says of it."""

    request: ImageRequest
    measured: Measured

    @property
    def uses(self) -> tuple[AdapterUse, ...]:
        """The LoRAs that do something."""
        return tuple(use for use in self.request.adapters if use.te or use.unet)


def measured_cells(data: Mapping[str, Any]) -> Iterator[MeasuredCell]:
    """Those of a grid's results.json that one merge can make, and whose files are what they were.

    Raises ValueError for what is no such report.
    """
    try:
        card = data["card"]
        named: CardFile = NO_CARD if card is None else (str(card["file"]), str(card["sha256"]))
        cells = {tuple(cell["position"]): cell for cell in data["cells"]}
        groups = data.get("groups") or [_alone(cell) for cell in cells.values()]
        for group in groups:
            own = [cells[tuple(position)] for position in group["cells"]]
            request = _drawn(own[0])
            if request is None:
                continue
            found = {name: _estimate(value) for name, value in group["scores"].items()}
            measured = measured_by(
                "grid",
                [(name, name != BLEED) for name in (LIKENESS, BLEED) if name in found],
                [found[name] for name in (LIKENESS, BLEED) if name in found],
                card=named,
                seeds=[int(cell["request"]["seed"]) for cell in own],
                prompts=[request.prompt],
            )
            if measured is not None:
                yield MeasuredCell(request, measured)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError("no results of a grid") from error


def _alone(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell as the group of itself."""
    scores = {
        name: {"mean": value, "low": None, "high": None, "values": [value]}
        for name, value in cell["scores"].items()
        if value is not None
    }
    return {"cells": [cell["position"]], "scores": scores}


def _estimate(data: Mapping[str, Any]) -> Estimate:
    low, high = (None if data[end] is None else float(data[end]) for end in ("low", "high"))
    return Estimate(float(data["mean"]), low, high, tuple(map(float, data["values"])))


def _drawn(cell: Mapping[str, Any]) -> ImageRequest | None:
    """What was drawn; None for a cell of a recipe, of LoRAs in some steps only, of another program, and where
    a file is not what it was: then its key is another.
    """
    fields = dict(cell["request"])
    if fields.pop("version") != REQUEST_VERSION or cell["variables"] or not cell["done"]:
        return None
    fields["adapters"] = tuple(AdapterUse(**use) for use in fields["adapters"])
    fields["embeddings"] = tuple(fields.get("embeddings", ()))
    if fields.pop("hires", None) is not None:
        return None
    request = ImageRequest(**fields)
    some_steps = any(use.start is not None or use.stop is not None for use in request.adapters)
    if some_steps or request_key(request, file_identity) != cell["key"]:
        return None
    return request
