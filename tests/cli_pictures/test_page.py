"""The page that the command writes, in a real browser: every cell is there, with its command."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from browser import document_of, needs_browser, photograph
from cli.kit import Run
from cli_pictures.conftest import QUICK
from cli_pictures.test_render import pixels


@pytest.mark.slow
@needs_browser
def test_a_recipe_on_its_page(here: Path, done: Run) -> None:
    axes = ("--x", "M = 0, 0.7", "--y", "seed = 1, 2")
    done("grid", "--recipe", "article.toml", "--prompt", "a girl", *QUICK, *axes, "-o", "out")
    page = here / "out" / "grid.html"
    document = document_of(page, "lang=en&cell=2,1,1")
    assert len(re.findall(r'class="cell[ "]', document)) == 4
    assert "lathe run article.toml --set M=0.7 --set rank=4" in document
    photograph(page, here / "page.png", 900, 600)
    shot = pixels(here / "page.png")
    assert shot.shape[:2] == (600, 900)
    assert len(np.unique(shot.reshape(-1, shot.shape[2]), axis=0)) > 1000
