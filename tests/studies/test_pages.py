"""The pages in a real browser: what a person sees after the scripts have run."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from browser import asked_of, document_of, needs_browser
from loralathe.demo.judge import CachedJudge, scorers_of
from loralathe.studies import DEFAULT_SCORERS
from loralathe.studies.analyzer import BlocksOptions, analyze_blocks
from loralathe.studies.grid import GridOptions, run_grid
from loralathe.studies.metrics import Background
from loralathe.studies.page import build
from loralathe.studies.page.build import grid_page
from loralathe.studies.tuning.budget import Budget
from loralathe.studies.tuning.goals import goals_of
from loralathe.studies.tuning.options import TuneOptions
from loralathe.studies.tuning.search import run_tune
from loralathe.words import read_page
from studies.fakes import FakeRenderer, request, use
from studies.test_grid import Darkness


@needs_browser
def test_the_grid_page(tmp_path: Path) -> None:
    options = GridOptions(
        request(),
        tmp_path,
        x="hina = 0, 0.5, 1",
        y="seed = 1, 2",
        z="cfg = 4, 7",
        preview_seconds=0,
        scorers=(*DEFAULT_SCORERS, Darkness()),
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
    badges = re.findall(r'class="badge">([^<]*)<', dom)
    assert len(badges) == 6, "it opens on the score that was chosen"
    assert all(float(badge) > 2 for badge in badges)


TAP = """
const say = (kind, type, box) => box.dispatchEvent(new type(kind, { bubbles: true, pointerType: "touch" }));
const finger = ["pointerdown", "pointermove", "pointerup"];
const after = ["mousemove", "mousedown", "mouseup", "click"];
const tap = (box) => { for (const kind of finger) say(kind, PointerEvent, box);
                       for (const kind of after) say(kind, MouseEvent, box); };
"""
"""What a finger on a box sends, as browsers do."""

TOUCHED = """
tap(view.cellAt(1, 0, 0).box);
const panel = !$("panel").hidden, tip = !$("tip").hidden;
const title = document.querySelector("aside h2").textContent;
tap(view.cellAt(1, 0, 0).box);
const light = !$("light").hidden, wide = document.documentElement.scrollWidth;
tap([...document.querySelectorAll(".light button")].find((button) => button.textContent === "←"));
const moved = view.picked.labels, image = () => document.querySelector(".light img").getAttribute("src");
const before = image();
tap([...document.querySelectorAll(".light button")].find((button) => button.textContent === "→"));
say("pointerdown", PointerEvent, document.querySelector(".light .compare"));
const compared = image() === before;
const names = [...document.querySelectorAll("[aria-label]")].map((box) => box.getAttribute("aria-label"));
for (const box of document.querySelectorAll("pre")) box.textContent = "";
return { panel, title, tip, light, moved, compared, wide, words: document.body.innerText + names };
"""


@needs_browser
def test_the_grid_page_on_a_phone_in_chinese(tmp_path: Path) -> None:
    """A finger opens a cell and then its picture, nothing hides them, and no English word is left."""
    axes = {"x": "hina = 0.5, 0.7", "y": "mio te = 0.5, 0.7", "z": "sampler = Euler, Heun"}
    adapters = (use(), use("mio.safetensors"))
    run_grid(GridOptions(request(adapters=adapters), tmp_path, preview_seconds=0, **axes), FakeRenderer())
    seen = asked_of(tmp_path / "grid.html", TAP + TOUCHED, 390, 844, "lang=zh")
    assert (seen["panel"], seen["tip"], seen["light"], seen["compared"]) == (True, False, True, True), seen
    assert seen["title"] == "hina：0.7 · mio 文字編碼器：0.5 · 取樣器：Euler"
    assert seen["moved"] == ["0.5", "0.5", "Euler"]
    assert seen["wide"] == 390
    words = set(re.findall(r"[A-Za-z]{2,}", str(seen["words"]).replace(tmp_path.name, "")))
    files = {"baseA", "hina", "mio", "safetensors", "te", "unet"}
    assert words <= files | {"Euler", "Heun", "Automatic", "CFG", "LoRA", "SSIM", "pHash", "Esc", "English"}


@pytest.mark.slow
@needs_browser
def test_the_grid_page_takes_the_width_of_its_window(tmp_path: Path) -> None:
    run_grid(GridOptions(request(), tmp_path, x="hina = 0, 0.5, 1", preview_seconds=0), FakeRenderer())
    right = "return { right: Math.max(...data.cells.map((cell) => cell.box.getBoundingClientRect().right)) };"
    assert 1200 < float(str(asked_of(tmp_path / "grid.html", right, 1280, 1200)["right"])) <= 1280


def test_axes_and_scores_of_the_program_have_chinese_names_on_the_page() -> None:
    folder = Path(build.__file__).parent
    known = {*read_page("zh-TW", "grid")["names"], "VAE", "CFG", "LoRA", "SSIM", "pHash"}
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.parent.glob("axes*.py"))
    titles = set(re.findall(r'\b(?:Axis|decimal_axis)\("([^"]+)"', sources))
    assert len(titles) > 12
    assert titles | {scorer.name for scorer in (*DEFAULT_SCORERS, *scorers_of(CachedJudge(folder)))} <= known


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
    report = analyze_blocks(BlocksOptions(request(), tmp_path, blocks="12ALL", seeds=3), FakeRenderer())
    dom = document_of(tmp_path / "blocks.html", "lang=zh")
    assert dom.count('class="whisker"') == 12
    assert report.weights_list is not None
    assert report.weights_list in dom
    assert "可以當起點的分層權重" in dom
    assert "<title>hina：分層分析</title>" in dom
    assert "排序：依分層" in dom
    assert len(re.findall(r'<img[^>]*src="diffs/', dom)) == 12


@needs_browser
@pytest.mark.parametrize(
    ("color", "bright"), [("white", "invert(1) brightness({}) invert(1)"), ("black", "brightness({})")]
)
@pytest.mark.long
def test_the_blocks_page_on_a_phone(tmp_path: Path, color: Background, bright: str) -> None:
    """Every column and picture is on the screen; differences are brightened, and a slider says how much."""
    options = BlocksOptions(request(), tmp_path, blocks="12ALL", seeds=3, background=color)
    analyze_blocks(options, FakeRenderer())
    question = """
    const all = (selector) => [...document.querySelectorAll(selector)];
    const right = Math.max(...all("td, img").map((box) => box.getBoundingClientRect().right));
    const filter = () => getComputedStyle(document.querySelector("img[src^='diffs/']")).filter;
    const first = filter(), slider = document.querySelector("input");
    slider.value = 9; slider.dispatchEvent(new Event("input"));
    const columns = all("table.bars tbody tr:first-child td").filter((box) => box.offsetWidth).length;
    return { right, first, then: filter(), columns };
    """
    seen = asked_of(tmp_path / "blocks.html", question, 390, 844, "lang=en")
    assert float(str(seen["right"])) <= 390
    assert seen["columns"] == 7
    assert (seen["first"], seen["then"]) == (bright.format(4), bright.format(9))


@needs_browser
@pytest.mark.long
def test_the_page_of_a_search_on_a_phone(tmp_path: Path) -> None:
    """Its reasons are sentences, a dot shows its pictures, and nothing is wider than the screen."""
    options = TuneOptions(
        request(), tmp_path, ("hina = 0, 0.5, 1", "cfg = 4, 7"), goals_of(("diversity",)), Budget(pictures=30)
    )
    report = run_tune(options, FakeRenderer())
    question = """
    const all = (selector) => [...document.querySelectorAll(selector)];
    const right = Math.max(...all("td, .card, svg").map((box) => box.getBoundingClientRect().right));
    const dots = all("svg.plot:not(.key) circle");
    dots[0].dispatchEvent(new Event("click"));
    const named = document.querySelector(".candidate b").textContent;
    const reasons = all(".reasons > li").length, text = document.body.innerText;
    return { right, dots: dots.length, named, reasons, text };
    """
    seen = asked_of(tmp_path / "tune.html", question, 390, 844, "lang=zh")
    assert float(str(seen["right"])) <= 390
    assert seen["dots"] == len(report.candidates)
    assert int(str(seen["reasons"])) >= 3
    assert "驗證：用 8 個挑選時沒用過的新種子" in str(seen["text"])
    assert str(seen["named"])


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


@pytest.mark.parametrize("name", ["grid", "blocks", "tune", "segments", "everywhere", "soup", "cure"])
def test_every_word_of_a_page_is_in_both_languages_and_used(name: str) -> None:
    folder = Path(build.__file__).parent
    view = (folder / f"{name}_view.js").read_text(encoding="utf-8")
    files = ["judged.js"] if "judged.js" in view else []
    parts = [(folder / file).read_text(encoding="utf-8").split("\n};\n", 1) for file in files]
    words, script = map("".join, zip(*parts, view.split("\n};\n", 1), strict=True))
    english = re.findall(r'\b(\w+): "', words)
    assert english == list(read_page("zh-TW", name)["texts"])
    frame = "grid" if name == "grid" else "report"
    page = (folder / f"{frame}.html").read_text(encoding="utf-8")
    others = (f"{frame}.js", "common.js", "elements.js")
    used = script + page + "".join((folder / file).read_text(encoding="utf-8") for file in others)
    notes = ("steps", "tokens", "apply")  # of a cell's command; the data name them
    assert [word for word in english if f'"{word}"' not in used and word not in notes] == []
