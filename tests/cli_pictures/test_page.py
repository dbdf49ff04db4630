"""The page that the command writes, in a real browser: every cell is there, with its command."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cli.kit import Run
from cli_pictures.conftest import QUICK
from cli_pictures.test_render import pixels

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: `make chromium` gets one, and this test looks at the page"
)


def browser(page: Path, *words: str, query: str = "") -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", *words]
    address = page.resolve().as_uri() + query
    return subprocess.run([*command, address], capture_output=True, text=True, timeout=300, check=True).stdout


@pytest.mark.slow
@needs_browser
def test_a_recipe_on_its_page(here: Path, done: Run) -> None:
    axes = ("--x", "M = 0, 0.7", "--y", "seed = 1, 2")
    done("grid", "--recipe", "article.toml", "--prompt", "a girl", *QUICK, *axes, "-o", "out")
    page = here / "out" / "grid.html"
    document = browser(page, "--dump-dom", query="?lang=en&cell=2,1,1")
    assert len(re.findall(r'class="cell[ "]', document)) == 4
    assert "lathe run article.toml --set M=0.7 --set rank=4" in document
    browser(page, "--window-size=900,600", f"--screenshot={here / 'page.png'}")
    shot = pixels(here / "page.png")
    assert shot.shape[:2] == (600, 900)
    assert len(np.unique(shot.reshape(-1, shot.shape[2]), axis=0)) > 1000
