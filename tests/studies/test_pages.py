"""The pages in a real browser: what a person sees after the scripts have run."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from browser import document_of, needs_browser
from loralathe.studies.analyzer import BlocksOptions, analyze_blocks
from loralathe.studies.grid import GridOptions, run_grid
from loralathe.studies.page import build
from loralathe.studies.page.build import grid_page
from studies.fakes import FakeRenderer, request


@needs_browser
def test_the_grid_page(tmp_path: Path) -> None:
    options = GridOptions(
        request(), tmp_path, x="hina = 0, 0.5, 1", y="seed = 1, 2", z="cfg = 4, 7", preview_seconds=0
    )
    run_grid(options, FakeRenderer())
    dom = document_of(tmp_path / "grid.html", "lang=zh&theme=dark&cell=2,1,1")
    assert 'data-theme="dark"' in dom
    assert 'lang="zh-Hant-TW"' in dom
    assert len(re.findall(r'class="cell[ "]', dom)) == 6
    assert dom.count("<button aria-pressed=") == 2
    assert "融合成這一格的指令" in dom
    assert "量測（與第 1, 1, 1 格比較）" in dom
    assert "lathe merge baseA.safetensors hina.safetensors:0.5" in dom


@pytest.mark.slow
@needs_browser
def test_a_live_page_marks_what_is_missing(tmp_path: Path) -> None:
    options = GridOptions(request(), tmp_path, x="seed = 1, 2, 3", preview_seconds=0)
    made = run_grid(options, FakeRenderer())
    (tmp_path / made.cells[2].file).unlink()
    cells = [replace(cell, done=False) for cell in made.cells]
    (tmp_path / "live.html").write_bytes(grid_page(made.plan, cells, title="t", folder=tmp_path, live=True))
    dom = document_of(tmp_path / "live.html", "lang=en&cell=1,1")
    assert "Command that merges it" in dom
    assert "rendering… 2 / 3" in dom
    assert len(re.findall(r'class="cell absent"', dom)) == 1


@needs_browser
def test_the_blocks_page(tmp_path: Path) -> None:
    report = analyze_blocks(BlocksOptions(request(), tmp_path, blocks="12ALL", seeds=2), FakeRenderer())
    dom = document_of(tmp_path / "blocks.html", "lang=zh")
    assert dom.count('class="whisker"') == 12
    assert report.weights_list is not None
    assert report.weights_list in dom
    assert "可以開始的分層權重" in dom
    assert "<title>hina：分層分析</title>" in dom
    assert "排序：依分層" in dom
    assert len(re.findall(r'<img[^>]*src="diffs/', dom)) == 12


def test_importing_the_package_is_light() -> None:
    code = "import sys, loralathe.studies; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(root / "src")},
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["grid", "blocks"])
def test_every_word_of_a_page_is_in_both_languages_and_used(name: str) -> None:
    folder = Path(build.__file__).parent
    words, script = (folder / f"{name}.js").read_text(encoding="utf-8").split("\n};\n", 1)
    english, chinese = (re.findall(r'\b(\w+): "', half) for half in words.split("  zh: {"))
    assert english == chinese
    page = (folder / f"{name}.html").read_text(encoding="utf-8")
    used = script + page + (folder / "common.js").read_text(encoding="utf-8")
    notes = ("steps", "tokens", "apply")  # of a cell's command; the data name them
    assert [word for word in english if f'"{word}"' not in used and word not in notes] == []
