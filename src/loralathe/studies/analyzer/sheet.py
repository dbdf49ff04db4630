"""LoRA Block Weight's sheet: for every block the difference, the picture, the source; one sheet a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from loralathe.strengths import show_number
from loralathe.studies.analyzer.options import BlocksOptions
from loralathe.studies.analyzer.report import BlockReport
from loralathe.studies.drawing.layout import Sheet, lay_out
from loralathe.studies.drawing.paint import paint_sheet
from loralathe.studies.metrics import difference_picture, pixels_of
from loralathe.studies.store import CellStore


def difference_image(test: Image.Image, source: Image.Image, options: BlocksOptions) -> Image.Image:
    return Image.fromarray(difference_picture(pixels_of(test), pixels_of(source), options.background))


def percentage_label(percentage: float) -> str:
    """Three decimals, as LoRA Block Weight prints them."""
    return f"{round(percentage, 3):.3f}%"


def sheet_of_seed(report: BlockReport, options: BlocksOptions, index: int, store: CellStore) -> Image.Image:
    """Rows are blocks, columns diff, value, source; swapped, columns are blocks and the rows reversed."""
    percentages = [effect.changed.values[index] for effect in report.effects]
    names = [
        f"{e.group.name}\n{percentage_label(p)}" for e, p in zip(report.effects, percentages, strict=True)
    ]
    kinds = ("diff", show_number(report.examined), "source")
    weights = f"{show_number(report.examined)} / {show_number(report.others)}"
    title = f"{report.adapter}   {weights}   seed {report.seeds[index]}"
    top = max(percentages, default=0) or 1
    slot = (options.request.width, options.request.height)
    sheet = Sheet(
        columns=tuple(names) if options.swap else kinds,
        rows=kinds[::-1] if options.swap else tuple(names),
        slot=slot,
        title=title,
        margin=options.look.margin,
        meters=tuple(percentage / top for percentage in percentages),
        meters_on="columns" if options.swap else "rows",
    )
    scale = _fitting(sheet, options)
    scaled = replace(sheet, slot=(max(1, round(slot[0] * scale)), max(1, round(slot[1] * scale))))
    canvas = Image.new("RGB", lay_out(scaled).size, options.look.style.background)
    paint_sheet(
        canvas, (0, 0), scaled, _pictures(report, options, index, store, scaled.slot), options.look.style
    )
    return canvas


def _fitting(sheet: Sheet, options: BlocksOptions) -> float:
    scale = 1.0
    while True:
        slot = (max(1, round(sheet.slot[0] * scale)), max(1, round(sheet.slot[1] * scale)))
        width, height = lay_out(replace(sheet, slot=slot)).size
        if (
            max(width, height) <= options.look.max_side and width * height <= options.look.max_pixels
        ) or scale < 0.02:
            return scale
        scale *= 0.9


def _pictures(
    report: BlockReport, options: BlocksOptions, index: int, store: CellStore, slot: tuple[int, int]
) -> Callable[[int, int], Image.Image]:
    source = store.open(report.sources[index])

    def picture(column: int, row: int) -> Image.Image:
        block, kind = (column, 2 - row) if options.swap else (row, column)
        if kind == 2:
            image = source
        else:
            test = store.open(report.effects[block].keys[index])
            image = difference_image(test, source, options) if kind == 0 else test
        return image if image.size == slot else image.resize(slot, Image.Resampling.LANCZOS)

    return picture
