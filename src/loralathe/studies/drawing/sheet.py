"""A sheet of pictures with its legend: first where everything lies, as numbers; then it is painted.

Pictures are painted one at a time, so memory holds the canvas and one cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

from loralathe.studies.drawing.text import Label, draw_label, make_label

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Style:
    """Colours and measures of a sheet."""

    background: str = "#ffffff"
    ink: str = "#15181e"
    muted: str = "#667085"
    line: str = "#dfe3ea"
    accent: str = "#2f6fed"
    missing: str = "#eef1f5"
    margin: int = 4


PLAIN = Style()


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table of pictures: slots of `slot` (width, height) under column labels, beside row labels.

    `title` stands above everything (the value of Z); `x_title` and `y_title` name the axes. `meters` are
    small bars under the labels of the columns or rows, each 0 to 1.
    """

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    slot: tuple[int, int]
    title: str = ""
    x_title: str = ""
    y_title: str = ""
    legend: bool = True
    margin: int = 4
    meters: tuple[float, ...] = ()
    meters_on: Literal["columns", "rows"] = "rows"


@dataclass(frozen=True, slots=True)
class Layout:
    """Geometry of a sheet in pixels; `left`, `top` are the pads before the first cell."""

    size: tuple[int, int]
    left: int
    top: int
    slot: tuple[int, int]
    margin: int
    pad: int
    title: Label | None
    x_title: Label | None
    y_title: Label | None
    columns: tuple[Label, ...]
    rows: tuple[Label, ...]
    header: int

    def cell(self, column: int, row: int) -> tuple[int, int]:
        """Top left corner of a slot."""
        w, h = self.slot
        return self.left + column * (w + self.margin), self.top + row * (h + self.margin)


def font_size(slot: tuple[int, int]) -> int:
    """(width + height) / 28, between 11 and 72 pixels: a sheet shown whole on a screen can still be read."""
    return max(11, min(72, (slot[0] + slot[1]) // 28))


def lay_out(sheet: Sheet, *, fixed: tuple[int, int] | None = None) -> Layout:
    """Measure a sheet. `fixed` gives (left, header) pads, so that sheets beside each other line up."""
    size = font_size(sheet.slot)
    pad = max(6, size // 2)
    w, h = sheet.slot
    columns, rows, x_title, y_title = _legend(sheet, size, pad)
    left, header = fixed or pads(sheet)
    title = (
        make_label(sheet.title, round(size * 1.25), w * len(sheet.columns) + left, 3) if sheet.title else None
    )
    top = header + (title.height + pad if title else 0)
    width = left + len(sheet.columns) * (w + sheet.margin) - sheet.margin + (pad if sheet.legend else 0)
    height = top + len(sheet.rows) * (h + sheet.margin) - sheet.margin + (pad if sheet.legend else 0)
    return Layout(
        (width, height),
        left,
        top,
        sheet.slot,
        sheet.margin,
        pad,
        title,
        x_title,
        y_title,
        columns,
        rows,
        header,
    )


def _legend(
    sheet: Sheet, size: int, pad: int
) -> tuple[tuple[Label, ...], tuple[Label, ...], Label | None, Label | None]:
    if not sheet.legend:
        return (), (), None, None
    w, h = sheet.slot
    columns = tuple(make_label(text, size, w - pad) for text in sheet.columns)
    lines = max(2, (h - pad) // round(size * 1.3))
    rows = tuple(make_label(text, size, max(w * 3 // 4, size * 6), lines) for text in sheet.rows)
    small = max(10, round(size * 0.8))
    x_title = make_label(sheet.x_title, small, max(w, size * 8), 2) if sheet.x_title else None
    y_title = make_label(sheet.y_title, small, max(w * 3 // 4, size * 6), 2) if sheet.y_title else None
    return columns, rows, x_title, y_title


def pads(sheet: Sheet) -> tuple[int, int]:
    """(left, header) that the legend needs."""
    if not sheet.legend:
        return 0, 0
    size = font_size(sheet.slot)
    pad = max(6, size // 2)
    columns, rows, x_title, y_title = _legend(sheet, size, pad)
    widths = [label.width for label in (*rows, *([y_title] if y_title else []))]
    left = max(widths, default=0)
    left = left + 2 * pad if left else pad
    tallest = max((label.height for label in columns), default=0)
    over = max((label.height for label in (x_title, y_title) if label), default=0)
    header = tallest + over + pad * (1 + (tallest > 0))
    return left, header


def arrange(
    sizes: Sequence[tuple[int, int]], gap: int
) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
    """Place sheets in reading order so that the whole is as near to 3:2 as it can be; (size, corners)."""
    width, height = max(s[0] for s in sizes), max(s[1] for s in sizes)
    best, columns = float("inf"), 1
    for across in range(1, len(sizes) + 1):
        down = -(-len(sizes) // across)
        ratio = (across * (width + gap)) / (down * (height + gap))
        badness = max(ratio / 1.5, 1.5 / ratio) * (across * down / len(sizes))
        if badness < best:
            best, columns = badness, across
    corners = tuple(
        ((i % columns) * (width + gap), (i // columns) * (height + gap)) for i in range(len(sizes))
    )
    down = -(-len(sizes) // columns)
    return (columns * (width + gap) - gap, down * (height + gap) - gap), corners


Picture = Callable[[int, int], Image.Image | None]


def paint_sheet(
    canvas: Image.Image,
    corner: tuple[int, int],
    sheet: Sheet,
    picture: Picture,
    style: Style,
    *,
    fixed: tuple[int, int] | None = None,
) -> Layout:
    """Draw a sheet with its top left at `corner`; `picture(column, row)` is None for a cell not yet there."""
    layout = lay_out(sheet, fixed=fixed)
    draw = ImageDraw.Draw(canvas)
    if sheet.legend:
        _paint_legend(draw, corner, layout, style)
        _paint_meters(draw, corner, layout, sheet, style)
    for row in range(len(sheet.rows)):
        for column in range(len(sheet.columns)):
            x, y = layout.cell(column, row)
            _paint_cell(canvas, (corner[0] + x, corner[1] + y), layout.slot, picture(column, row), style)
    return layout


def _paint_legend(draw: ImageDraw.ImageDraw, corner: tuple[int, int], layout: Layout, style: Style) -> None:
    x0, y0 = corner
    w, h = layout.slot
    base = y0 + layout.top - layout.header
    if layout.title:
        y = y0 + layout.pad / 2 + layout.title.height / 2
        draw_label(draw, layout.title, (x0 + layout.left, y), style.ink, "l")
    over = max((label.height for label in (layout.x_title, layout.y_title) if label), default=0)
    if layout.x_title:
        y = base + layout.pad / 2 + over / 2
        draw_label(draw, layout.x_title, (x0 + layout.left, y), style.muted, "l")
    if layout.y_title:
        y = base + layout.header - layout.pad / 2 - layout.y_title.height / 2
        draw_label(draw, layout.y_title, (x0 + layout.left - layout.pad, y), style.muted, "r")
    middle = base + over + layout.pad / 2 + (layout.header - over - layout.pad / 2) / 2
    for index, label in enumerate(layout.columns):
        x, _ = layout.cell(index, 0)
        draw_label(draw, label, (x0 + x + w / 2, middle), style.ink)
    for index, label in enumerate(layout.rows):
        _, y = layout.cell(0, index)
        draw_label(draw, label, (x0 + layout.left - layout.pad, y0 + y + h / 2), style.ink, "r")


def _paint_meters(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], layout: Layout, sheet: Sheet, style: Style
) -> None:
    thick = max(3, layout.pad // 2)
    w, h = layout.slot
    for index, share in enumerate(sheet.meters):
        if sheet.meters_on == "columns":
            x, y = layout.cell(index, 0)
            left, right = corner[0] + x, corner[0] + x + w - 1
            top = corner[1] + y - thick - 2
        else:
            _, y = layout.cell(0, index)
            label = layout.rows[index]
            right = corner[0] + layout.left - layout.pad
            left = right - max(label.width for label in layout.rows)
            top = corner[1] + y + h // 2 + label.height // 2 + layout.pad // 2
        draw.rectangle((left, top, right, top + thick - 1), fill=style.line)
        if share > 0:
            length = max(1, round((right - left) * min(share, 1)))
            draw.rectangle((left, top, left + length, top + thick - 1), fill=style.accent)


def _paint_cell(
    canvas: Image.Image,
    corner: tuple[int, int],
    slot: tuple[int, int],
    image: Image.Image | None,
    style: Style,
) -> None:
    w, h = slot
    if image is None:
        draw = ImageDraw.Draw(canvas)
        draw.rectangle(
            (corner[0], corner[1], corner[0] + w - 1, corner[1] + h - 1),
            fill=style.missing,
            outline=style.line,
        )
        return
    x, y = corner[0] + (w - image.width) // 2, corner[1] + (h - image.height) // 2
    canvas.paste(image, (x, y))
