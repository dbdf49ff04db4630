"""Painting a sheet: the legend, then one picture at a time: memory holds the canvas and one cell."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageDraw

from loralathe.studies.drawing.layout import Layout, Sheet, Style, lay_out
from loralathe.studies.drawing.text import draw_label

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
