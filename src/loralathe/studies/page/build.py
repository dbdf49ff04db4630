"""Filling a page: assets read from the package, data escaped for its place in HTML."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

from loralathe.errors import printable
from loralathe.likeness.intervals import Estimate
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse, argument_text, show_number
from loralathe.studies.drawing.grid import slot_of
from loralathe.studies.over_seeds import OverSeeds
from loralathe.studies.plan import GridPlan, Position
from loralathe.studies.results import CellResult
from loralathe.words import read_page

_IMPORTED = re.compile(r'^import\b.*"\./([\w.]+)"', re.MULTILINE)
"""What a view imports: modules that stand before it in the page."""


def _asset(name: str) -> str:
    return files("loralathe.studies.page").joinpath(name).read_text(encoding="utf-8")


def _without_modules(script: str) -> str:
    """A module's text as a part of one script, which works in a page that is a file."""
    return re.sub(r"^import .*\n|^export ", "", script, flags=re.MULTILINE)


def fill_page(name: str, title: str, data: Mapping[str, object], *, frame: str = "report") -> bytes:
    """A self-contained page: the frame with the view called `name`, style, script, its words in Chinese.

    frame: `report` shows the cards of the view below one another; `grid` is one of its own.
    """
    words = {"words": read_page("zh-TW", name)}
    text = json.dumps({**_shown(data), **words}, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    view = _asset(f"{name}_view.js")
    modules = map(_asset, _IMPORTED.findall(view))
    scripts = [*map(_without_modules, [*modules, view]), *map(_asset, ("common.js", f"{frame}.js"))]
    parts = {
        "title": html.escape(printable(title)),
        "style": _asset("style.css"),
        "data": text,
        "script": "\n".join(['"use strict";', *scripts]),
    }
    page = _asset(f"{frame}.html")
    for key in ("title", "style", "script", "data"):  # data last: it may hold what looks like a place
        page = page.replace("{{" + key + "}}", parts[key])
    return page.encode("utf-8", "backslashreplace")  # of a name that is no text, as JSON spells it


def _shown(value: Any) -> Any:
    """The same with texts as people see them: names and prompts come from anywhere."""
    if isinstance(value, Mapping):
        return {printable(key): _shown(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def picture_source(file: str, folder: Path, *, embed: bool) -> str:
    """The picture's relative path, or its bytes as a data URI."""
    if not embed:
        return file
    path = folder / file
    if not path.is_file():
        return ""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def page_values(values: Iterable[Estimate | None]) -> list[dict[str, float | None] | None]:
    """Means with their intervals, as the views take them."""
    return [None if one is None else {"mean": one.mean, "low": one.low, "high": one.high} for one in values]


def page_pictures(keys: Iterable[str], folder: Path) -> list[str]:
    """Pictures of a study's folder, by their keys."""
    return [picture_source(f"cells/{key}.png", folder, embed=False) for key in keys]


def grid_page(
    plan: GridPlan,
    results: Sequence[CellResult],
    *,
    title: str,
    folder: Path,
    reference: Position = (0, 0, 0),
    chosen: Sequence[str] = (),
    groups: Sequence[OverSeeds] = (),
    recipe: bool = False,
    embed: bool = False,
    live: bool = False,
) -> bytes:
    """`grid.html`. A live page asks again for pictures that are not there yet.

    groups: cells that differ by seed only, taken together.
    chosen: scores that were asked for; it opens on the first, without them on the one looked at last. A score
    that has no number is not offered.
    """
    references = plan.references(reference)
    names = list(results[0].scores) if results else []
    scores = [name for name in names if live or any(one.scores[name] is not None for one in results)]
    axes = [
        {"title": axis.title, "values": [value.label for value in axis.values]} if axis.title else None
        for axis in plan.axes
    ]
    data = {
        "title": title,
        "axes": axes,
        "shape": plan.shape,
        "slot": slot_of(plan),
        "recipe": recipe,
        "live": live,
        "scores": scores,
        "chosen": [name for name in scores if name in chosen],
        "groups": [_group(group) for group in groups],
        "cells": [
            _cell(result, folder, embed=embed) | {"reference": references[result.cell.position]}
            for result in results
        ],
    }
    return fill_page("grid", title, data, frame="grid")


def _group(group: OverSeeds) -> dict[str, object]:
    return {
        "cells": group.cells,
        "labels": group.labels,
        "scores": {name: (one.mean, one.low, one.high) for name, one in group.scores.items()},
        "against": {name: (one.mean, one.low, one.high) for name, one in group.against.items()},
        "diversity": group.diversity,
    }


def _cell(result: CellResult, folder: Path, *, embed: bool) -> dict[str, object]:
    request = result.cell.request
    command = result.recipe and {
        "command": result.recipe.command,
        "snippet": result.recipe.snippet,
        "notes": result.recipe.notes,
    }
    return {
        "position": result.cell.position,
        "labels": result.cell.labels,
        "src": picture_source(result.file, folder, embed=embed),
        "done": result.done,
        "scores": result.scores,
        "command": command,
        "width": request.size[0],
        "height": request.size[1],
        "seed": request.seed,
        "prompt": request.prompt,
        "negative": request.negative,
        "checkpoint": _checkpoint(request, result.cell.variables),
        "adapters": [adapter_text(use) for use in request.adapters],
        "sampling": f"{request.sampler}, {request.schedule}, {request.steps}, CFG {show_number(request.cfg)}",
    }


def _checkpoint(request: ImageRequest, variables: tuple[tuple[str, float], ...]) -> str:
    settings = ", ".join(f"{name} = {show_number(value)}" for name, value in variables)
    return (
        f"{PurePath(request.checkpoint).name} ({settings})" if settings else PurePath(request.checkpoint).name
    )


def adapter_text(use: AdapterUse) -> str:
    """`hina.safetensors:0.7:te=0.3 [0:10]`, the file without its folder."""
    steps = "" if use.start is None and use.stop is None else f" [{use.start or 0}:{use.stop or ''}]"
    return PurePath(use.file).name + argument_text(use)[len(use.file) :] + steps
