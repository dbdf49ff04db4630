"""An analysis on disk: sheets, difference pictures, CSV, JSON, HTML."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

from loralathe.progress import Progress
from loralathe.studies.analyzer.options import BlocksOptions
from loralathe.studies.analyzer.report import BlockReport
from loralathe.studies.analyzer.sheet import difference_image, sheet_of_seed
from loralathe.studies.infotext import own_text
from loralathe.studies.page.build import fill_page, picture_source
from loralathe.studies.store import CellStore, png_bytes
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
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    measures = ("changed", "ssim", "gmsd")
    heads = [f"{measure}{end}" for measure in measures for end in ("", " low", " high")]
    writer.writerow(["block", *heads, "weight", *(f"changed, seed {seed}" for seed in report.seeds)])
    for effect in report.effects:
        estimates = (effect.changed, effect.ssim, effect.gmsd)
        numbers = [number for e in estimates for number in (e.mean, e.low, e.high)]
        writer.writerow(
            [
                effect.group.name,
                *("" if number is None else f"{number:.6g}" for number in numbers),
                effect.weight,
                *(f"{value:.6g}" for value in effect.changed.values),
            ]
        )
    return b"\xef\xbb\xbf" + buffer.getvalue().encode()


def blocks_json(report: BlockReport) -> bytes:
    """The whole report."""
    fields = asdict(replace(report, files=()))
    del fields["files"]
    return json.dumps({"version": 1} | fields, ensure_ascii=False, indent=1).encode() + b"\n"


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
            "weight": effect.weight,
            "tests": [source(f"cells/{key}.png") for key in effect.keys],
            "diffs": [source(difference_file(options, key)) for key in effect.keys],
        }
        for effect in report.effects
    ]
    title = options.title or f"{report.adapter}: blocks"
    data = {
        "title": title,
        "adapter": report.adapter,
        "examined": report.examined,
        "others": report.others,
        "threshold": report.threshold,
        "seeds": report.seeds,
        "sources": [source(f"cells/{key}.png") for key in report.sources],
        "effects": effects,
        "list": report.weights_list,
        "byName": report.weights_by_name,
        "command": report.recipe.command if report.recipe else None,
        "width": options.request.width,
        "height": options.request.height,
        "pictures": report.pictures,
        "prompt": options.request.prompt,
    }
    return fill_page("blocks", title, data)
