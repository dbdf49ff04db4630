"""An analysis on disk: sheets as LoRA Block Weight draws them, difference pictures, CSV, JSON, HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from PIL import Image

from loralathe.likeness.intervals import Estimate
from loralathe.progress import Progress
from loralathe.rendering.png import png_bytes
from loralathe.strengths import show_number
from loralathe.studies.analyzer.options import BlocksOptions
from loralathe.studies.analyzer.report import BlockReport
from loralathe.studies.drawing.sheet import Sheet, lay_out, paint_sheet
from loralathe.studies.metrics import difference_picture, pixels_of
from loralathe.studies.page.build import fill_page, picture_source
from loralathe.studies.results import own_text
from loralathe.studies.store import CellStore
from loralathe.studies.study_file import csv_file, csv_number, json_file
from loralathe.tensorfiles import write_whole


def write_report(
    options: BlocksOptions, report: BlockReport, store: CellStore, progress: Progress
) -> BlockReport:
    """Write all files into the folder; returns the report with their paths."""
    total = len(report.seeds) * (1 + len(report.effects))
    with progress.task("report", total=total, unit="pictures") as task:
        sheets = []
        for index, seed in enumerate(report.seeds):
            text = own_text(store.open(report.sources[index]).info)
            sheet = sheet_of_seed(report, options, index, store)
            sheets.append(_write(options.folder / f"blocks-{seed}.png", png_bytes(sheet, text)))
            task.advance()
            _write_differences(options, report, index, store)
            task.advance(len(report.effects))
    files = (
        *sheets,
        _write(options.folder / "blocks.csv", blocks_csv(report)),
        _write(options.folder / "blocks.json", blocks_json(report)),
        _write(options.folder / "blocks.html", blocks_page(options, report)),
    )
    return replace(report, files=files)


def _write(path: Path, content: bytes) -> Path:
    write_whole(path, content)
    return path


def difference_file(options: BlocksOptions, key: str) -> str:
    """Where a block's difference picture is, relative to the folder."""
    return f"diffs/{key}-{options.background}.png"


def _write_differences(options: BlocksOptions, report: BlockReport, index: int, store: CellStore) -> None:
    source = store.open(report.sources[index])
    for effect in report.effects:
        path = options.folder / difference_file(options, effect.keys[index])
        if not path.is_file():
            picture = difference_image(store.open(effect.keys[index]), source, options)
            write_whole(path, png_bytes(picture))


def blocks_csv(report: BlockReport) -> bytes:
    """One row for every block: means with 95 % intervals, the suggested weight, the value of each seed."""
    carded = any(effect.likeness is not None for effect in report.effects)
    measures = ("changed", "ssim", "gmsd", *(("likeness",) if carded else ()))
    heads = [f"{measure}{end}" for measure in measures for end in ("", " low", " high")]
    seeds = [f"changed, seed {seed}" for seed in report.seeds]
    rows: list[Sequence[object]] = [["block", *heads, "weight", *seeds]]
    for effect in report.effects:
        estimates = (effect.changed, effect.ssim, effect.gmsd, *((effect.likeness,) if carded else ()))
        numbers = [number for e in estimates for number in _three(e)]
        row = [
            effect.group.name,
            *map(csv_number, numbers),
            effect.weight,
            *map(csv_number, effect.changed.values),
        ]
        rows.append(row)
    return csv_file(rows)


def _three(value: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.mean, value.low, value.high)


def blocks_json(report: BlockReport) -> bytes:
    """The whole report."""
    fields = asdict(replace(report, files=()))
    del fields["files"]
    return json_file({"version": 1} | fields) + b"\n"


def blocks_page(options: BlocksOptions, report: BlockReport) -> bytes:
    """`blocks.html`."""

    def source(file: str) -> str:
        return picture_source(file, options.folder, embed=options.embed)

    effects = [
        {
            "name": effect.group.name,
            "blocks": effect.group.blocks,
            "changed": asdict(effect.changed),
            "ssim": asdict(effect.ssim),
            "gmsd": asdict(effect.gmsd),
            "likeness": effect.likeness and asdict(effect.likeness),
            "weight": effect.weight,
            "tests": [source(f"cells/{key}.png") for key in effect.keys],
            "diffs": [source(difference_file(options, key)) for key in effect.keys],
        }
        for effect in report.effects
    ]
    data = {
        "title": options.title,
        "adapter": report.adapter,
        "examined": report.examined,
        "others": report.others,
        "threshold": report.threshold,
        "color": options.background,
        "seeds": report.seeds,
        "sources": [source(f"cells/{key}.png") for key in report.sources],
        "effects": effects,
        "strength": report.strength,
        "list": report.weights_list,
        "byName": report.weights_by_name,
        "command": report.recipe.command if report.recipe else None,
        "width": options.request.size[0],
        "height": options.request.size[1],
        "pictures": report.pictures,
        "prompt": options.request.prompt,
    }
    return fill_page("blocks", options.title or f"{report.adapter}: blocks", data)


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
    slot = options.request.size
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
