"""Pages of hostile names in a real browser: they show it, and nothing of it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from browser import asked_of, needs_browser
from demo.test_report import places
from loralathe.demo.material import Bar, Bars, Chapter, Code, Figure, Picture, Row, Table
from loralathe.demo.report import words_of, write_report
from loralathe.studies.analyzer import BlocksOptions, analyze_blocks
from loralathe.studies.grid import GridOptions, run_grid
from loralathe.studies.segments.search import SegmentsOptions, find_segments
from loralathe.studies.tuning.budget import Budget
from loralathe.studies.tuning.goals import goals_of
from loralathe.studies.tuning.options import TuneOptions
from loralathe.studies.tuning.search import run_tune
from studies.fakes import FakeRenderer, request, use

RUN = "document.documentElement.dataset.ran=1"
TAGS = f"</title></script></style></pre>--><script>{RUN}</script><img src=x onerror={RUN}><svg onload={RUN}>"
NAME = f"<img src=x onerror={RUN}>'\"`${{{RUN}}}&lt;\u202e\x9b\udcffgpj.safetensors"
SEEN = """
const ran = document.documentElement.dataset.ran ?? "";
const strange = [...document.querySelectorAll("img[src=x], svg[onload], [onerror]")].length;
const foreign = (script) => script.textContent.startsWith("document.document");
const scripts = [...document.scripts].filter(foreign).length;
for (const button of document.querySelectorAll("button")) button.click();
for (const box of document.querySelectorAll(".cell, tr")) box.click();
const links = [...document.querySelectorAll("a")].filter((link) => link.protocol === "javascript:").length;
return { ran: ran + (document.documentElement.dataset.ran ?? ""), strange, scripts, links,
         title: document.title, text: document.body.innerText };
"""


def check(page: Path, title: str) -> str:
    """The text that the page shows."""
    seen = asked_of(page, SEEN, 900, 700, "lang=zh&cell=1,1,1")
    ran = {key: seen[key] for key in ("ran", "strange", "scripts", "links")}
    assert ran == {"ran": "", "strange": 0, "scripts": 0, "links": 0}
    assert title in str(seen["title"])
    return str(seen["text"])


@pytest.mark.slow
@needs_browser
def test_nothing_of_the_report_runs(tmp_path: Path) -> None:
    picture = Picture(tmp_path / "red.png")
    Image.new("RGB", (8, 8), "red").save(picture.file)
    parts = (
        Figure("cross", TAGS, (TAGS, "1"), (Row(TAGS, (picture, picture)),), TAGS, TAGS, "a.html"),
        Table("merged_numbers", (TAGS,), ((TAGS, (TAGS,)),), (TAGS,)),
        Bars("blocks", TAGS, picture, (Bar(TAGS, 5.0, 4.0, 6.0, TAGS, picture, picture),), "b.html"),
        Code("recipe", TAGS, TAGS),
    )
    numbers = {name: TAGS for key in words_of("en") for name in places(words_of("en")[key])}
    write_report(tmp_path, [Chapter("strength", (TAGS,), parts, numbers)], "en")
    assert "<svg onload=" in check(tmp_path / "report.html", "")


@needs_browser
@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", ["grid", "blocks", "tune", "segments"])
def test_nothing_of_a_name_runs(tmp_path: Path, kind: str) -> None:
    asked = request(prompt=TAGS, negative=TAGS, checkpoint=NAME, vae=NAME, adapters=(use(NAME),))
    if kind == "grid":
        axes = {"x": "seed = 1, 2", "y": f'prompt s/r = "{TAGS.replace(chr(34), "")}", "`b`"'}
        run_grid(GridOptions(asked, tmp_path, title=TAGS, preview_seconds=0, **axes), FakeRenderer())
    elif kind == "tune":
        goals = goals_of(("diversity",))
        run_tune(
            TuneOptions(asked, tmp_path, ("cfg = 4, 7",), goals, Budget(pictures=14), check=2, title=TAGS),
            FakeRenderer(),
        )
    else:
        options = BlocksOptions(asked, tmp_path, title=TAGS, blocks="IN01,MID", seeds=1)
        if kind == "blocks":
            analyze_blocks(options, FakeRenderer())
        else:
            find_segments(SegmentsOptions(options, most=2), FakeRenderer())
    text = check(tmp_path / f"{kind}.html", TAGS)
    assert "<img src=x onerror=" in text
    assert "\\u202e\\x9b\udcffgpj" in text
