"""The Effective Block Analyzer against a numpy reference, and on adapters whose effect is known."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from loralathe.errors import InputError
from loralathe.families.sd1 import SD1
from loralathe.families.sdxl import SDXL
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import parse_block_weights
from loralathe.studies.analyzer import BlockReport, BlocksOptions, analyze_blocks, bar, bar_chart
from loralathe.studies.analyzer.report import suggested_weight
from loralathe.studies.context import Context
from loralathe.studies.grid import GridOptions, run_grid
from studies.fakes import FakeRenderer, request, use

POWER = {"BASE": 20, "IN05": 90, "IN08": 40, "OUT00": 160, "TE1": 15}
"""Grey levels that a block adds at weight 1, in a stripe of its own."""


def draw(wanted: ImageRequest) -> Image.Image:
    """Every block lights its own stripe in proportion to its weight, as the adapters room reads the text."""
    weights = parse_block_weights(wanted.adapters[0].blocks or "*=1", SDXL)
    names = [*SDXL.long_blocks, "TE1", "TE2"]
    pixels = np.full((wanted.height, wanted.width, 3), 20 + wanted.seed % 5, dtype=float)
    for index, name in enumerate(names):
        rows = slice(index * wanted.height // len(names), (index + 1) * wanted.height // len(names))
        weight = (
            dict(weights.weights).get(name, weights.rest)
            if name in ("TE1", "TE2")
            else weights.weight_of("unet.x", name)
        )
        pixels[rows, :: 2 + wanted.seed % 2] += POWER.get(name, 0) * weight
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def options(folder: Path, **changes: object) -> BlocksOptions:
    base = BlocksOptions(request(width=48, height=88), folder, context=Context(family=SDXL), blocks="12ALL")
    return replace(base, **changes)  # type: ignore[arg-type]


def names(report: BlockReport) -> list[str]:
    return [effect.group.name for effect in report.effects]


def test_numbers_and_pictures_are_lbws(tmp_path: Path) -> None:
    renderer = FakeRenderer(draw)
    report = analyze_blocks(options(tmp_path, range="0.3,0.7", seeds=2), renderer)
    assert names(report) == list(SDXL.short_blocks)
    assert len(renderer.rendered) == report.rendered == (12 + 1) * 2
    for effect in report.effects:
        for index, seed in enumerate((7, 8)):
            source = np.asarray(
                draw(request(width=48, height=88, seed=seed, adapters=(use(blocks="*=0.7"),))), int
            )
            text = f"*=0.7,{effect.group.name}=0.3"
            test = np.asarray(
                draw(request(width=48, height=88, seed=seed, adapters=(use(blocks=text),))), int
            )
            difference = abs(test - source)
            assert effect.changed.values[index] == 100 * (difference > 20).sum() / difference.size
            with Image.open(tmp_path / "diffs" / f"{effect.keys[index]}-black.png") as picture:
                assert np.array_equal(np.asarray(picture), difference)
    assert report.effects[2].changed.mean > 0
    assert report.effects[1].changed.mean == 0


def test_a_white_background_is_the_negative(tmp_path: Path) -> None:
    analyze_blocks(options(tmp_path), FakeRenderer(draw))
    report = analyze_blocks(options(tmp_path, background="white"), FakeRenderer(draw))
    for effect in report.effects:
        black, white = (
            np.asarray(Image.open(tmp_path / "diffs" / f"{effect.keys[0]}-{b}.png"))
            for b in ("black", "white")
        )
        assert np.array_equal(255 - black, white)


def test_the_source_has_the_second_value_everywhere(tmp_path: Path) -> None:
    renderer = FakeRenderer(draw)
    analyze_blocks(options(tmp_path, range="0.5,1", blocks="BASE,IN04-IN05"), renderer)
    assert [r.adapters[0].blocks for r in renderer.rendered] == [None, "BASE=0.5", "IN04=0.5,IN05=0.5"]


def test_marks_choose_the_adapter(tmp_path: Path) -> None:
    renderer = FakeRenderer(draw)
    tagged = request(
        prompt="x <lora:hina:0.8:lbw=XYZ> <lora:mio:0.5:lbw=0,1,0,0,0,0,0,0,0,0,0,0>",
        adapters=(),
        width=48,
        height=88,
    )
    report = analyze_blocks(options(tmp_path, request=tagged, blocks="MID"), renderer)
    assert [[u.blocks for u in r.adapters] for r in renderer.rendered] == [
        [None, "0,1,0,0,0,0,0,0,0,0,0,0"],
        ["MID=0.5", "0,1,0,0,0,0,0,0,0,0,0,0"],
    ]
    assert report.adapter == "hina"


def test_a_long_list_on_a_small_family_says_what_it_leaves_out(tmp_path: Path) -> None:
    report = analyze_blocks(options(tmp_path, blocks="26ALL"), FakeRenderer(draw))
    assert report.lacking == ("IN09", "IN10", "IN11", "OUT09", "OUT10", "OUT11")
    assert names(report) == list(SDXL.long_blocks)


def test_named_lists_and_text_encoders(tmp_path: Path) -> None:
    report = analyze_blocks(
        options(
            tmp_path,
            blocks="face",
            lists={"Face": "BASE, IN08, OUT00-OUT02"},
            split_encoders=("TE1", "TE2"),
            threshold=5,
        ),
        FakeRenderer(draw),
    )
    assert names(report) == ["TE1", "TE2", "IN08", "OUT00-OUT02"]
    assert report.effects[0].changed.mean > 0
    assert report.effects[1].changed.mean == 0
    assert report.weights_list is None
    assert "TE1=" in report.weights_by_name


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"range": "0.5"}, "1 value; it takes two"),
        ({"range": "0.2,0.5,1"}, "3 values"),
        ({"range": "1,1"}, "the same"),
        ({"blocks": "IN4"}, "'IN04'"),
        ({"blocks": "IN04,IN04"}, "listed twice"),
        ({"blocks": "NOT BASE-OUT08"}, "selects no block"),
        ({"adapter": "hnia"}, "'hina'"),
        ({"request": request(width=8, height=64)}, "8×64"),
        ({"split_encoders": ("TE3",)}, "'TE"),
    ],
)
def test_mistakes(tmp_path: Path, changes: dict[str, object], what: str) -> None:
    renderer = FakeRenderer(draw)
    with pytest.raises(InputError) as caught:
        analyze_blocks(options(tmp_path, **({"blocks": "BASE"} | changes)), renderer)
    assert what in str(caught.value)
    assert renderer.rendered == []


def test_a_coarse_search_finds_the_same_strong_blocks_with_fewer_pictures(tmp_path: Path) -> None:
    every = options(tmp_path / "fine", blocks="", range="0,1", threshold=100)
    fine = analyze_blocks(every, FakeRenderer(draw))
    coarse_renderer = FakeRenderer(draw)
    coarse = analyze_blocks(replace(every, folder=tmp_path / "coarse", coarse=True), coarse_renderer)
    strong = {e.group.name: e.changed.mean for e in fine.effects if e.changed.mean}
    assert strong
    found = {e.group.name: e.changed.mean for e in coarse.effects if e.changed.mean}
    assert found == strong
    assert len(coarse_renderer.rendered) == 13, "source, 4 stages, and 4 halvings of OUT00–OUT08"
    assert coarse.rendered == coarse.pictures == 13
    assert fine.rendered == 21
    covered = [block for effect in coarse.effects for block in effect.group.blocks]
    assert covered == list(SDXL.long_blocks)


def test_pictures_are_kept_between_runs(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        analyze_blocks(options(tmp_path), FakeRenderer(draw, stop_after=5))
    assert analyze_blocks(options(tmp_path), FakeRenderer(draw)).rendered == 13 - 5
    assert analyze_blocks(options(tmp_path, seeds=2, threshold=9), FakeRenderer(draw)).rendered == 13


def test_the_folder_of_another_analysis_stays(tmp_path: Path) -> None:
    def analyzed(**changes: object) -> int:
        return analyze_blocks(options(tmp_path, **changes), FakeRenderer(draw)).rendered

    assert analyzed(blocks="IN05, OUT00") == 3
    assert analyzed(blocks="OUT00, BASE", seeds=2, threshold=9, swap=True) == 4, "the same study goes on"
    others = {"range": "0,1", "request": request(width=48, height=88, prompt="cat"), "blocks": "MID"}
    for name, value in others.items():
        wanted = {"blocks": "OUT00", name: value}
        with pytest.raises(InputError, match="belongs to another study"):
            analyzed(**wanted)
    grid = GridOptions(request(width=48, height=88), tmp_path, x="seed = 7", preview_seconds=0)
    with pytest.raises(InputError, match="belongs to another study"):
        run_grid(grid, FakeRenderer(draw))
    assert analyzed(blocks="OUT00", range="0,1", force=True) == 1
    assert analyzed(blocks="OUT00", range="0, 1.0") == 0


@pytest.mark.parametrize(("changed", "weight"), [(10, 1), (5, 1), (2.5, 0.65), (1, 0.45), (0, 0.3)])
def test_suggested_weights_lie_between_the_two_of_the_range(changed: float, weight: float) -> None:
    assert suggested_weight(changed, 10, 0.3, 1) == suggested_weight(changed, 10, 1, 0.3) == weight
    assert suggested_weight(0, 0, 0.3, 1) == 0.3


def test_a_strength_multiplies_the_list_that_is_suggested(tmp_path: Path) -> None:
    """The list holds no strength: what the strongest block had in the analysis, the merge gives it."""
    given = request(adapters=(use(strength=0.8),))
    report = analyze_blocks(options(tmp_path, request=given, range="0.3,0.7"), FakeRenderer(draw))
    assert report.strength == 0.7
    assert report.weights_list is not None
    weights = [float(text) for text in report.weights_list.split(",")]
    assert (min(weights), max(weights)) == (0.43, 1)
    assert report.recipe is not None
    merge = f'lathe merge baseA.safetensors "hina.safetensors:0.56:lbw={report.weights_list}"'
    assert report.recipe.command == merge
    some = analyze_blocks(options(tmp_path / "some", blocks="IN05", range="0.3,0.7"), FakeRenderer(draw))
    assert some.weights_by_name in ("*=1", "IN05=0.43")
    turned = analyze_blocks(options(tmp_path / "turned", blocks="IN05", range="0.7,0.35"), FakeRenderer(draw))
    assert turned.weights_by_name == "*=0.5,IN05=1"


def test_suggestions_can_be_pasted(tmp_path: Path) -> None:
    report = analyze_blocks(options(tmp_path, range="0,1"), FakeRenderer(draw))
    assert report.weights_list is not None
    by_list, by_name = (
        parse_block_weights(text, SDXL) for text in (report.weights_list, report.weights_by_name)
    )
    for effect in report.effects:
        for weights in (by_list, by_name):
            assert weights.weight_of("unet.x", effect.group.name) == effect.weight
    assert report.recipe is not None
    pasted = f'lathe merge baseA.safetensors "hina.safetensors:1:lbw={report.weights_list}"'
    assert report.recipe.command == pasted


def test_tables_and_page(tmp_path: Path) -> None:
    report = analyze_blocks(options(tmp_path, seeds=3, title="分層"), FakeRenderer(draw))
    rows = list(csv.DictReader((tmp_path / "blocks.csv").read_text(encoding="utf-8-sig").splitlines()))
    effect = report.effects[2]
    assert rows[2]["block"] == "IN05"
    assert float(rows[2]["changed"]) == pytest.approx(effect.changed.mean, rel=1e-5)
    assert float(rows[2]["changed high"]) == pytest.approx(effect.changed.high, rel=1e-5)
    assert [float(rows[2][f"changed, seed {s}"]) for s in (7, 8, 9)] == pytest.approx(
        effect.changed.values, rel=1e-5
    )
    stored = json.loads((tmp_path / "blocks.json").read_text())
    assert stored["effects"][2]["group"] == {"name": "IN05", "blocks": ["IN05"]}
    assert stored["weights_list"] == report.weights_list
    page = (tmp_path / "blocks.html").read_text(encoding="utf-8")
    assert '<h1 id="title">分層</h1>' in page
    assert f"cells/{effect.keys[1]}.png" in page
    assert [p.name for p in report.files] == [
        "blocks-7.png",
        "blocks-8.png",
        "blocks-9.png",
        "blocks.csv",
        "blocks.json",
        "blocks.html",
    ]


@pytest.mark.parametrize("swap", [False, True])
def test_the_sheet_shows_difference_test_and_source(tmp_path: Path, swap: bool) -> None:
    report = analyze_blocks(
        options(tmp_path, blocks="IN05, OUT00", range="0,1", swap=swap), FakeRenderer(draw)
    )
    with Image.open(tmp_path / "blocks-7.png") as image:
        sheet = np.asarray(image.convert("RGB"))
    pictures = {
        "diff": np.asarray(Image.open(tmp_path / "diffs" / f"{report.effects[1].keys[0]}-black.png")),
        "0": np.asarray(Image.open(tmp_path / "cells" / f"{report.effects[1].keys[0]}.png")),
        "source": np.asarray(Image.open(tmp_path / "cells" / f"{report.sources[0]}.png")),
    }
    places = {name: find(sheet, picture) for name, picture in pictures.items()}
    ordered = sorted(places, key=lambda name: places[name][0 if swap else 1])
    assert ordered == (["source", "0", "diff"] if swap else ["diff", "0", "source"])


def find(sheet: np.ndarray, picture: np.ndarray) -> tuple[int, int]:
    """The last place (row, column) where the picture lies on the sheet."""
    h, w, _ = picture.shape
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (h, w, 3))[:, :, 0]
    rows, columns = np.where((windows[..., h // 2, :, :] == picture[h // 2]).all(axis=(2, 3)))
    hits = [
        (r, c)
        for r, c in zip(rows, columns, strict=True)
        if np.array_equal(sheet[r : r + h, c : c + w], picture)
    ]
    assert hits, "the picture is not on the sheet as it is"
    return hits[-1]


def test_the_bar_chart(tmp_path: Path) -> None:
    report = analyze_blocks(
        options(tmp_path, range="0.3,0.7", blocks="BASE, IN05, OUT00", seeds=2), FakeRenderer(draw)
    )
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(bar_chart(report, width=20))
    lines = console.export_text().splitlines()
    assert "hina: 0.7 → 0.3" in lines[0]
    assert next(line for line in lines if line.startswith("OUT00") or " OUT00" in line).count("█") == 20
    assert bar(0.5, 10) == "█████"
    assert bar(0.05, 10) == "▌"
    assert bar(0, 10) == ""


def test_sd1_takes_its_own_lists(tmp_path: Path) -> None:
    plain = FakeRenderer()
    report = analyze_blocks(options(tmp_path, blocks="17all", context=Context(family=SD1)), plain)
    assert names(report) == list(SD1.short_blocks)
    assert len(plain.rendered) == 18
