"""A plan as pictures: one sheet for every Z value, all on `grid.png`; tiles where that is too large."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, sqrt
from pathlib import Path

from PIL import Image

from loralathe.rendering.png import png_bytes
from loralathe.studies.drawing.sheet import PLAIN, Sheet, Style, arrange, lay_out, pads, paint_sheet
from loralathe.studies.plan import GridPlan
from loralathe.tensorfiles import write_whole

Open = Callable[[str], Image.Image | None]
GAP = 32


@dataclass(frozen=True, slots=True)
class GridLook:
    """How a grid is drawn. Over `max_side` or `max_pixels` it is cut into tiles with legends of their own."""

    legend: bool = True
    margin: int = 4
    style: Style = PLAIN
    max_side: int = 16_000
    max_pixels: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """A block of cells: columns and rows [begin, end) of Z value `z`."""

    z: int
    columns: tuple[int, int]
    rows: tuple[int, int]


def slot_of(plan: GridPlan) -> tuple[int, int]:
    """The slot that holds every cell of the plan."""
    sizes = [cell.request.size for cell in plan.cells]
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def sheet_of(plan: GridPlan, part: Part, look: GridLook, scale: float = 1.0) -> Sheet:
    """The table of one part, its slots scaled."""
    x, y, z = plan.axes
    slot = slot_of(plan)
    title = f"{z.title}: {z.values[part.z].label}" if z.title else ""
    return Sheet(
        columns=tuple(value.label for value in x.values[slice(*part.columns)]),
        rows=tuple(value.label for value in y.values[slice(*part.rows)]),
        slot=(max(1, round(slot[0] * scale)), max(1, round(slot[1] * scale))),
        title=title,
        x_title=x.title,
        y_title=y.title,
        legend=look.legend,
        margin=look.margin if scale == 1 else max(1, round(look.margin * scale)),
    )


def whole_parts(plan: GridPlan) -> list[Part]:
    """One part for every Z value, all of its cells."""
    nx, ny, nz = plan.shape
    return [Part(k, (0, nx), (0, ny)) for k in range(nz)]


def compose(
    plan: GridPlan, parts: list[Part], open_cell: Open, look: GridLook, scale: float = 1.0
) -> Image.Image:
    """All parts on one canvas, side by side as near to 3:2 as they go."""
    sheets, fixed, size, corners = _placed(plan, parts, look, scale)
    canvas = Image.new("RGB", size, look.style.background)
    for part, sheet, corner in zip(parts, sheets, corners, strict=True):
        paint_sheet(canvas, corner, sheet, _pictures(plan, part, open_cell, scale), look.style, fixed=fixed)
    return canvas


def composed_size(plan: GridPlan, parts: list[Part], look: GridLook, scale: float = 1.0) -> tuple[int, int]:
    return _placed(plan, parts, look, scale)[2]


def _placed(
    plan: GridPlan, parts: list[Part], look: GridLook, scale: float
) -> tuple[list[Sheet], tuple[int, int], tuple[int, int], tuple[tuple[int, int], ...]]:
    sheets = [sheet_of(plan, part, look, scale) for part in parts]
    needed = [pads(sheet) for sheet in sheets]
    fixed = max(left for left, _ in needed), max(header for _, header in needed)
    sizes = [lay_out(sheet, fixed=fixed).size for sheet in sheets]
    size, corners = arrange(sizes, GAP if len(parts) > 1 else 0)
    return sheets, fixed, size, corners


def _pictures(
    plan: GridPlan, part: Part, open_cell: Open, scale: float
) -> Callable[[int, int], Image.Image | None]:
    def picture(column: int, row: int) -> Image.Image | None:
        cell = plan.cell((part.columns[0] + column, part.rows[0] + row, part.z))
        image = open_cell(cell.key)
        if image is None or scale == 1:
            return image
        width, height = cell.request.size
        target = max(1, round(width * scale)), max(1, round(height * scale))
        return image if image.size == target else image.resize(target, Image.Resampling.LANCZOS)

    return picture


def _fits(size: tuple[int, int], look: GridLook) -> bool:
    return max(size) <= look.max_side and size[0] * size[1] <= look.max_pixels


def draw_grid(plan: GridPlan, open_cell: Open, look: GridLook) -> Iterator[tuple[str, Image.Image]]:
    """(name, picture) of every file to write, `grid.png` first.

    When the grid is over the limits, `grid.png` is a smaller overview and the full-size tiles follow as
    `grid-z1-r1c1.png`, each with the legend of its own cells.
    """
    parts = whole_parts(plan)
    if _fits(composed_size(plan, parts, look), look):
        yield "grid.png", compose(plan, parts, open_cell, look)
        return
    scale = fitting_scale(plan, look)
    yield "grid.png", compose(plan, parts, open_cell, look, scale)
    for part in _tiles(plan, look):
        yield _tile_name(plan, part), compose(plan, [part], open_cell, look)


def fitting_scale(plan: GridPlan, look: GridLook) -> float:
    """The largest of 1, 0.9, 0.81 … at which the whole grid is within the limits."""
    scale = 1.0
    while not _fits(composed_size(plan, whole_parts(plan), look, scale), look) and scale > 1e-3:
        width, height = composed_size(plan, whole_parts(plan), look, scale)
        over = max(width / look.max_side, height / look.max_side, sqrt(width * height / look.max_pixels))
        scale *= min(0.9, 1 / over)
    return scale


def _tiles(plan: GridPlan, look: GridLook) -> Iterator[Part]:
    nx, ny, nz = plan.shape
    w, h = slot_of(plan)
    side = min(look.max_side, round(sqrt(look.max_pixels)))
    across, down = (max(1, (side - slot) // (slot + look.margin)) for slot in (w, h))
    columns, rows = _even(nx, across), _even(ny, down)
    for k in range(nz):
        for row in rows:
            for column in columns:
                yield Part(k, column, row)


def _even(count: int, most: int) -> list[tuple[int, int]]:
    """0…count cut into the fewest runs of at most `most`, as equal as they go."""
    runs = ceil(count / most)
    edges = [round(index * count / runs) for index in range(runs + 1)]
    return list(pairwise(edges))


def _tile_name(plan: GridPlan, part: Part) -> str:
    z = f"-z{part.z + 1}" if plan.shape[2] > 1 else ""
    return f"grid{z}-r{part.rows[0] + 1}c{part.columns[0] + 1}.png"


def draw_sub_grids(plan: GridPlan, open_cell: Open, look: GridLook) -> Iterator[tuple[str, Image.Image]]:
    """One `grid-z1.png` for every Z value, scaled down when one alone is over the limits."""
    for part in whole_parts(plan):
        size = composed_size(plan, [part], look)
        scale = 1.0 if _fits(size, look) else fitting_scale(plan, look)
        yield f"grid-z{part.z + 1}.png", compose(plan, [part], open_cell, look, scale)


def preview_look(look: GridLook, side: int) -> GridLook:
    """The same grid on at most `side` pixels."""
    return replace(look, max_side=side, max_pixels=side * side)


SIDE = 1600


class Preview:
    """Rewrites one small file every few seconds; thumbnails of finished cells stay in memory.

    Writing takes at most about a tenth of the time: after a slow one the next waits longer.
    """

    def __init__(
        self,
        path: Path,
        plan: GridPlan,
        look: GridLook,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._plan = plan
        self._look = preview_look(look, SIDE)
        self._scale = fitting_scale(plan, self._look)
        self._every = every_s
        self._clock = clock
        self._next = clock() + every_s
        self._thumbnails: dict[str, Image.Image] = {}

    def add(self, key: str, image: Image.Image) -> None:
        """A finished cell; writes the preview when it is time."""
        size = max(1, round(image.width * self._scale)), max(1, round(image.height * self._scale))
        self._thumbnails[key] = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        if self._clock() >= self._next:
            self.write()

    def write(self) -> None:
        begin = self._clock()
        picture = compose(self._plan, whole_parts(self._plan), self._thumbnails.get, self._look, self._scale)
        write_whole(self._path, png_bytes(picture))
        now = self._clock()
        self._next = now + max(self._every, 10 * (now - begin))

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
