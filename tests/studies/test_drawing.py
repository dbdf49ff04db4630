"""Sheets as numbers, and a few pixels where they matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loralathe.studies.axes import parse_axis
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context
from loralathe.studies.drawing import text as fonts
from loralathe.studies.drawing.grid import GridLook, Part, compose, draw_grid, draw_sub_grids, whole_parts
from loralathe.studies.drawing.sheet import Sheet, arrange, lay_out
from loralathe.studies.drawing.text import make_label, width_of
from loralathe.studies.plan import GridPlan, plan_grid
from loralathe.studies.store import SeedBook
from studies.fakes import request


def plan(*texts: str, width: int = 64, height: int = 96) -> GridPlan:
    draft = CellBuilder(request(width=width, height=height))
    axes = [parse_axis(text, draft, Context()) if text else None for text in (*texts, "", "")[:3]]
    return plan_grid(draft, (axes[0], axes[1], axes[2]), Context(), identify=str)


def colour(key: str) -> tuple[int, int, int]:
    return int(key[:2], 16), int(key[2:4], 16), int(key[4:6], 16)


def opener(grid: GridPlan, missing: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    sizes = {cell.key: (cell.request.width, cell.request.height) for cell in grid.cells}
    return lambda key: None if key in missing else Image.new("RGB", sizes[key], colour(key))


def test_the_layout_of_a_sheet_is_this() -> None:
    sheet = Sheet(("0", "0.5", "1"), ("1", "2"), (512, 768), "CFG: 7", "hina", "Seed", margin=4)
    layout = lay_out(sheet)
    assert (layout.slot, layout.margin, layout.pad) == ((512, 768), 4, 22)
    assert layout.columns[0].size == 45
    assert [layout.cell(c, r) for r in range(2) for c in range(3)] == [
        (layout.left + c * 516, layout.top + r * 772) for r in range(2) for c in range(3)
    ]
    assert layout.size == (layout.left + 3 * 516 - 4 + 22, layout.top + 2 * 772 - 4 + 22)
    assert layout.top == layout.header + layout.title.height + 22 if layout.title else False
    assert layout.header == 58 + 47 + 2 * 22
    assert layout.left == 2 * 22 + width_of("Seed", 36)


def test_without_a_legend_only_pictures_are_left() -> None:
    layout = lay_out(Sheet(("a", "b"), ("c",), (10, 20), legend=False, margin=0))
    assert (layout.size, layout.left, layout.top) == ((20, 20), 0, 0)


def test_every_cell_is_where_the_layout_says() -> None:
    grid = plan("hina = 0, 0.5, 1", "seed = 1, 2")
    picture = compose(grid, whole_parts(grid), opener(grid), GridLook())
    layout = lay_out(Sheet(("0", "0.5", "1"), ("1", "2"), (64, 96), x_title="hina", y_title="Seed"))
    assert picture.size == layout.size
    for cell in grid.cells:
        x, y = layout.cell(*cell.position[:2])
        for dx, dy in ((0, 0), (63, 95), (32, 48)):
            assert picture.getpixel((x + dx, y + dy)) == colour(cell.key)
        assert picture.getpixel((x + 64, y + 96)) == (255, 255, 255)
    legend = np.asarray(picture)[: layout.top, layout.left :]
    assert (legend < 100).any(), "labels are drawn"


def test_cells_of_other_sizes_stand_in_the_middle() -> None:
    grid = plan("size = 64x96, 32x32")
    picture = compose(grid, whole_parts(grid), opener(grid), GridLook(legend=False))
    assert picture.size == (64 * 2 + 4, 96)
    assert picture.getpixel((68 + 16, 32)) == colour(grid.cells[1].key)
    assert picture.getpixel((68 + 15, 32)) == (255, 255, 255)


def test_missing_cells_are_grey() -> None:
    grid = plan("seed = 1, 2")
    picture = compose(grid, whole_parts(grid), opener(grid, (grid.cells[1].key,)), GridLook(legend=False))
    assert picture.getpixel((100, 50)) == (0xEE, 0xF1, 0xF5)


def test_z_makes_sheets_that_line_up() -> None:
    grid = plan("hina = 0, 1", "seed = 1, 2", "steps = 4, 5, 6, 7")
    size, corners = arrange([(200, 200)] * 4, 10)
    assert size == (410, 410)
    assert corners == ((0, 0), (210, 0), (0, 210), (210, 210))
    picture = compose(grid, whole_parts(grid), opener(grid), GridLook())
    assert picture.width > 2 * 2 * 64
    names = [name for name, _ in draw_sub_grids(grid, opener(grid), GridLook())]
    assert names == ["grid-z1.png", "grid-z2.png", "grid-z3.png", "grid-z4.png"]


def test_a_large_grid_becomes_tiles_and_an_overview() -> None:
    grid = plan("seed = 1-12", "cfg = 1-9")
    look = GridLook(max_side=500, max_pixels=500 * 500)
    drawn = dict(draw_grid(grid, opener(grid), look))
    assert next(iter(drawn)) == "grid.png"
    assert all(max(image.size) <= 500 for image in drawn.values())
    tiles = [name for name in drawn if name != "grid.png"]
    assert tiles[0] == "grid-r1c1.png"
    shown = {
        image.getpixel((x, y))
        for name, image in drawn.items()
        if name in tiles
        for x in range(0, image.width, 8)
        for y in range(0, image.height, 8)
    }
    assert {colour(cell.key) for cell in grid.cells} <= shown, "every cell is on a tile at full size"


def test_tiles_keep_the_legend_of_their_cells() -> None:
    grid = plan("seed = 1-4", "cfg = 1-4")
    part = Part(0, (2, 4), (1, 3))
    picture = compose(grid, [part], opener(grid), GridLook())
    layout = lay_out(Sheet(("3", "4"), ("2", "3"), (64, 96), x_title="Seed", y_title="CFG"))
    assert picture.size == layout.size
    assert picture.getpixel(layout.cell(0, 0)) == colour(grid.cell((2, 1, 0)).key)


@given(st.text(alphabet="ab ,中文字 ", min_size=1, max_size=60), st.integers(30, 200))
def test_wrapped_labels_fit_and_lose_nothing(text: str, width: int) -> None:
    label = make_label(text, 14, width, max_lines=99)
    assert label.width <= max(width, width_of("中", 14))
    assert "".join(label.lines).replace(" ", "") == text.replace(" ", "")


def test_long_labels_end_in_an_ellipsis() -> None:
    label = make_label("word " * 50, 14, 80, max_lines=3)
    assert len(label.lines) == 3
    assert label.lines[-1].endswith("…")
    assert label.width <= 80


def test_chinese_labels_are_not_boxes() -> None:
    if fonts.wide_font() is None:
        assert fonts.missing_characters(["微笑 a"]) == "微笑"
        pytest.skip("no font with Chinese characters on this system")
    assert fonts.missing_characters(["微笑, 大笑 0.5", "IN04"]) == ""
    font = fonts.font_for("微笑", 20)
    assert bytes(font.getmask("微")) != bytes(font.getmask("笑"))
    assert fonts.font_for("IN04 0.5", 20) is fonts.font_for("CFG", 20)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without fonts: Pillow's own is the only one."""
    for name in ("_wide", "_plain"):
        monkeypatch.setattr(fonts, name, lambda size: None)


def test_signs_that_no_font_has_are_spelt_in_ascii(bare: None) -> None:
    assert fonts.drawable("512×768, −0.5 → ½, café…") == "512x768, -0.5 -> 1/2, cafe…"
    assert fonts.drawable("cafe\u0301 （a\u200b）") == "cafe (a)"
    assert fonts.missing_characters(["512×768", "hina → mio"]) == ""
    assert make_label("512×768", 14, 200).lines == ("512x768",)
    assert make_label("512×768", 14, 200).width == width_of("512x768", 14)


def test_signs_that_a_font_has_stay() -> None:
    assert fonts.drawable("IN04 0.5 “a” ±1") == "IN04 0.5 “a” ±1"
    if fonts.wide_font() or fonts.plain_font():
        assert fonts.drawable("512×768 → café") == "512×768 → café"


def test_what_cannot_be_spelt_is_known(bare: None) -> None:
    assert fonts.missing_characters(["a 微 b", "笑 → c"]) == "微笑"
    assert fonts.font_for("微笑", 12).getlength("a") > 0


def test_seed_books_remember(tmp_path: Path) -> None:
    drawn = iter(range(100, 110))
    first = SeedBook(tmp_path, lambda: next(drawn))
    assert [first.next(), first.next()] == [100, 101]
    again = SeedBook(tmp_path, lambda: next(drawn))
    assert [again.next(), again.next(), again.next()] == [100, 101, 102]
    (tmp_path / "seeds.json").write_text("{broken")
    assert SeedBook(tmp_path, lambda: 7).next() == 7
